# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""PP-HGNetV2 B0 to B6 (PaddleClas) under timm's names; ppdet_hgnetv2.py has PaddleDetection's."""
from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from ..nn import ConvNormAct, constant_, conv2d, drop_path, uniform_
from .features import FeatureNet, Step
from .model_registry import register_model

HEAD_CHS = 2048

# kernel size of each stage's blocks, and whether their convolutions are "light": 1x1, then depthwise
STAGE_KINDS = ((3, False), (3, False), (5, True), (5, True))


def _stages(mid_chs, out_chs, depths):
    return tuple(zip(mid_chs, out_chs, depths))


# stem: channels inside and after it; stages: (channels inside a block, after it, blocks); layers: of a block
VARIANTS: dict[str, dict[str, Any]] = {
    "hgnetv2_b0": dict(
        stem=(16, 16), layers=3, affine=True,
        stages=_stages((16, 32, 64, 128), (64, 256, 512, 1024), (1, 1, 2, 1))),
    "hgnetv2_b1": dict(
        stem=(24, 32), layers=3, affine=True,
        stages=_stages((32, 48, 96, 192), (64, 256, 512, 1024), (1, 1, 2, 1))),
    "hgnetv2_b2": dict(
        stem=(24, 32), layers=4, affine=True,
        stages=_stages((32, 64, 128, 256), (96, 384, 768, 1536), (1, 1, 3, 1))),
    "hgnetv2_b3": dict(
        stem=(24, 32), layers=5, affine=True,
        stages=_stages((32, 64, 128, 256), (128, 512, 1024, 2048), (1, 1, 3, 1))),
    "hgnetv2_b4": dict(
        stem=(32, 48), layers=6,
        stages=_stages((48, 96, 192, 384), (128, 512, 1024, 2048), (1, 1, 3, 1))),
    "hgnetv2_b5": dict(
        stem=(32, 64), layers=6,
        stages=_stages((64, 128, 256, 512), (128, 512, 1024, 2048), (1, 2, 5, 2))),
    "hgnetv2_b6": dict(
        stem=(48, 96), layers=6,
        stages=_stages((96, 192, 384, 768), (192, 512, 1024, 2048), (2, 3, 6, 3))),
}


class Affine(nn.Layer):
    """scale * x + bias, one learnt number each."""

    def __init__(self):
        super().__init__()
        self.scale = self.create_parameter([1], default_initializer=nn.initializer.Constant(1.0))
        self.bias = self.create_parameter([1], default_initializer=nn.initializer.Constant(0.0))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.scale * x + self.bias


class Conv(ConvNormAct):
    """Convolution, BatchNorm, ReLU, Affine; the last two where asked for (no Affine without ReLU)."""

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 1, stride: int = 1, groups: int = 1,
                 act: bool = True, affine: bool = False):
        super().__init__(in_chs, out_chs, kernel_size, stride, groups, act=nn.ReLU if act else None)
        self.lab = Affine() if act and affine else nn.Identity()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.lab(super().forward(x))


class Conv2x2(Conv):
    """A ``Conv`` of kernel 2 that keeps the size: a row of zeros below, a column of them on the right."""

    def __init__(self, in_chs: int, out_chs: int, affine: bool):
        super().__init__(in_chs, out_chs, affine=affine)
        start = nn.initializer.Normal(0.0, math.sqrt(2.0 / (4 * out_chs)))
        self.conv = nn.Conv2D(in_chs, out_chs, 2, weight_attr=paddle.ParamAttr(initializer=start), bias_attr=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return super().forward(zero_border(x))


def zero_border(x: paddle.Tensor) -> paddle.Tensor:
    """[B, C, H, W] -> [B, C, H + 1, W + 1]: a row of zeros below, a column of them on the right."""
    return F.pad(x, [0, 1, 0, 1])


class LightConv(nn.Sequential):
    """A linear 1x1 convolution, then a depthwise one."""

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int, affine: bool):
        super().__init__(
            ("conv1", Conv(in_chs, out_chs, act=False)),
            ("conv2", Conv(out_chs, out_chs, kernel_size, groups=out_chs, affine=affine)))


class Stem(nn.Layer):
    """Stride 4: two 2x2 convolutions beside a max pooling, between two strided 3x3 convolutions."""

    def __init__(self, in_chs: int, mid_chs: int, out_chs: int, affine: bool):
        super().__init__()
        self.stem1 = Conv(in_chs, mid_chs, 3, stride=2, affine=affine)
        self.stem2a = Conv2x2(mid_chs, mid_chs // 2, affine)
        self.stem2b = Conv2x2(mid_chs // 2, mid_chs, affine)
        self.stem3 = Conv(mid_chs * 2, mid_chs, 3, stride=2, affine=affine)
        self.stem4 = Conv(mid_chs, out_chs, affine=affine)
        self.pool = nn.MaxPool2D(2, stride=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.stem1(x)
        return self.stem4(self.stem3(paddle.concat([self.pooled(x), self.stem2b(self.stem2a(x))], axis=1)))

    def pooled(self, x: paddle.Tensor) -> paddle.Tensor:
        """Maxima of 2x2 pixels; beyond the border zeros compete (values may be negative after an Affine)."""
        return self.pool(zero_border(x))


class Block(nn.Layer):
    """A chain of convolutions; its input and all their outputs are joined and squeezed to out_chs by two 1x1 ones."""

    def __init__(self, in_chs: int, mid_chs: int, out_chs: int, layers: int, kernel_size: int, light: bool,
                 affine: bool, skip: bool, drop_rate: float):
        super().__init__()
        conv = LightConv if light else Conv
        self.layers = nn.LayerList([
            conv(in_chs if index == 0 else mid_chs, mid_chs, kernel_size, affine=affine) for index in range(layers)])
        self._add_aggregation(Conv(in_chs + layers * mid_chs, out_chs // 2, affine=affine),
                              Conv(out_chs // 2, out_chs, affine=affine))
        self.skip = skip
        self.drop_path = drop_path(drop_rate)

    def _add_aggregation(self, squeeze, excitation):
        self.aggregation = nn.Sequential(squeeze, excitation)

    def aggregate(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, in_chs + layers * mid_chs, H, W] -> [B, out_chs, H, W]."""
        return self.aggregation(x)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        y = self.aggregate(paddle.concat(outputs, axis=1))
        return self.drop_path(y) + x if self.skip else y


def make_stage(in_chs: int, out_chs: int, stride: int, drop_rates: Sequence[float], kind: type[Block] = Block,
               **block: Any) -> nn.Layer:
    """Depthwise down-sampling where strided, then a block for each of ``drop_rates``; all but the first have a skip."""
    downsample = Conv(in_chs, in_chs, 3, stride, groups=in_chs, act=False) if stride > 1 else nn.Identity()
    blocks = [kind(in_chs if index == 0 else out_chs, out_chs=out_chs, skip=index > 0, drop_rate=rate, **block)
              for index, rate in enumerate(drop_rates)]
    return nn.Sequential(("downsample", downsample), ("blocks", nn.Sequential(*blocks)))


class HGNetV2(FeatureNet):
    """Features: stages.0 to stages.3, at strides 4, 8, 16, 32.

    Args:
        stem, stages, layers: see VARIANTS.
        affine: a learnt scale and bias after each activation (the small variants).
        Others: see FeatureNet and create_model.
    """

    CLASSIFIER = "head.fc"

    def __init__(self, stem: Sequence[int], stages: Sequence[tuple[int, int, int]], layers: int, affine: bool = False,
                 num_classes: int = 1000, in_chans: int = 3, features_only: bool = False,
                 out_indices: int | Sequence[int] | None = None, drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 pool: str = "avg"):
        super().__init__(num_classes, in_chans, features_only, out_indices, drop_rate, pool)
        self.stem = Stem(in_chans, stem[0], stem[1], affine)
        self.stages = nn.Sequential()
        steps, in_chs, done = [Step(("stem",), 4, stem[1])], stem[1], 0
        total = sum(depth for _, _, depth in stages)
        for index, ((mid_chs, out_chs, depth), (kernel_size, light)) in enumerate(zip(stages, STAGE_KINDS)):
            rates = [drop_path_rate * block / (total - 1) for block in range(done, done + depth)]
            self.stages.add_sublayer(str(index), make_stage(
                in_chs, out_chs, 1 if index == 0 else 2, rates, mid_chs=mid_chs, layers=layers,
                kernel_size=kernel_size, light=light, affine=affine))
            steps.append(Step((f"stages.{index}",), 4 * 2 ** index, out_chs, tap=f"stages.{index}"))
            in_chs, done = out_chs, done + depth
        self._set_steps(steps)
        if features_only:
            self.unused_prefixes += ("head.last_conv.",)
        else:
            self._add_head(affine)

    def _add_head(self, affine):
        self.head = nn.Sequential(("last_conv", nn.Sequential(
            conv2d(self.num_features, HEAD_CHS, 1), nn.ReLU(), *([Affine()] if affine else []))))
        self.num_features = HEAD_CHS
        if self.num_classes:
            self.head.add_sublayer("fc", nn.Linear(HEAD_CHS, self.num_classes))
            uniform_(self.head.fc.weight, 1.0 / math.sqrt(HEAD_CHS))
            constant_(self.head.fc.bias, 0.0)

    def forward_head(self, x: paddle.Tensor, pre_logits: bool = False) -> paddle.Tensor:
        """As FeatureNet's, with a 1x1 convolution between pooling and dropout."""
        pooled = self._pool(x)
        pixel = pooled if pooled.ndim == 4 else pooled.unsqueeze([2, 3])
        x = self._sublayer("head.last_conv")(pixel)
        x = self.head_dropout(x if pooled.ndim == 4 else x.flatten(1))
        return x if pre_logits or not self.num_classes else self._sublayer(self.CLASSIFIER)(x)


for _name, _variant in VARIANTS.items():
    register_model(_name, family="hgnetv2")(functools.partial(HGNetV2, **_variant))
