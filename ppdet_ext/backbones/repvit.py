# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""RepViT (Wang et al. 2023, arXiv:2307.09283) as in timm: trained with parallel branches, ``fuse()``d for export."""
from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ..errors import UserError
from ..nn import SqueezeExcite, constant_, conv2d, make_divisible, normal_, uniform_
from .features import FeatureNet, Step
from .model_registry import register_model

MLP_RATIO = 2
SE_RATIO = 0.25

VARIANTS: dict[str, dict[str, Any]] = {
    "repvit_m0_9": dict(chs=(48, 96, 192, 384), depths=(2, 2, 14, 2)),
    "repvit_m1_0": dict(chs=(56, 112, 224, 448), depths=(2, 2, 14, 2)),
    "repvit_m1_1": dict(chs=(64, 128, 256, 512), depths=(2, 2, 12, 2)),
    "repvit_m1_5": dict(chs=(64, 128, 256, 512), depths=(4, 4, 24, 4)),
    "repvit_m2_3": dict(chs=(80, 160, 320, 640), depths=(6, 6, 34, 2)),
}


class ConvNorm(nn.Sequential):
    """A convolution and its BatchNorm, under timm's names ``c`` and ``bn``."""

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 1, stride: int = 1, groups: int = 1):
        self.shape = (in_chs, out_chs, kernel_size, stride, groups)
        super().__init__(("c", conv2d(*self.shape)), ("bn", nn.BatchNorm2D(out_chs)))

    def fused(self) -> tuple[np.ndarray, np.ndarray]:
        """(weight, bias) of the one convolution that does the same in eval mode, in float64."""
        return _through_norm(_array(self.c.weight), 0.0, self.bn)

    def fuse(self) -> nn.Layer:
        """That convolution."""
        return _fill(conv2d(*self.shape, bias=True), *self.fused(), like=self.c)


class TokenMixer(nn.Layer):
    """Depthwise: kxk, 1x1 and the input itself are summed and normalised."""

    def __init__(self, chs: int, kernel_size: int = 3):
        super().__init__()
        self.conv = ConvNorm(chs, chs, kernel_size, 1, chs)
        self.conv1 = conv2d(chs, chs, 1, groups=chs, bias=True)
        self.bn = nn.BatchNorm2D(chs)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.bn(self.conv(x) + self.conv1(x) + x)

    def fuse(self) -> nn.Layer:
        """The one convolution that does the same in eval mode."""
        weight, bias = self.conv.fused()
        centre = weight.shape[-1] // 2
        weight[:, :, centre, centre] += _array(self.conv1.weight)[:, :, 0, 0] + 1.0
        weight, bias = _through_norm(weight, bias + _array(self.conv1.bias), self.bn)
        return _fill(conv2d(*self.conv.shape, bias=True), weight, bias, like=self.conv1)


class NormLinear(nn.Sequential):
    """BatchNorm, then a linear layer: timm's ``bn`` and ``l``."""

    def __init__(self, in_chs: int, out_chs: int):
        super().__init__(("bn", nn.BatchNorm1D(in_chs)), ("l", nn.Linear(in_chs, out_chs)))

    def fused(self) -> tuple[np.ndarray, np.ndarray]:
        """(weight, bias) of the one linear layer that does the same in eval mode, in float64."""
        scale, shift = _scale_and_shift(self.bn)
        weight = _array(self.l.weight)
        return weight * scale[:, None], shift @ weight + _array(self.l.bias)


class Classifier(nn.Layer):
    """The mean of two classifiers, of which distillation trains the second by a teacher's answers."""

    def __init__(self, in_chs: int, num_classes: int):
        super().__init__()
        self.head = NormLinear(in_chs, num_classes)
        self.head_dist = NormLinear(in_chs, num_classes)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return (self.head(x) + self.head_dist(x)) / 2

    def fuse(self) -> nn.Layer:
        """The one linear layer that does the same in eval mode."""
        weight, bias = ((one + other) / 2 for one, other in zip(self.head.fused(), self.head_dist.fused()))
        return _fill(nn.Linear(*weight.shape), weight, bias, like=self.head.l)


class Mlp(nn.Layer):
    """Two 1x1 convolutions with a GELU between; the branch of a skip."""

    def __init__(self, chs: int):
        super().__init__()
        self.conv1 = ConvNorm(chs, chs * MLP_RATIO)
        self.act = nn.GELU()
        self.conv2 = ConvNorm(chs * MLP_RATIO, chs)
        constant_(self.conv2.bn.weight, 0.0)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv2(self.act(self.conv1(x)))


class Block(nn.Layer):
    """Mix neighbours within channels (gated by SE where wanted), then channels within pixels."""

    def __init__(self, chs: int, se: bool):
        super().__init__()
        self.token_mixer = TokenMixer(chs)
        self.se: nn.Layer = nn.Identity()
        if se:
            self.se = SqueezeExcite(chs, make_divisible(chs * SE_RATIO, round_limit=0.0), names=("fc1", "fc2"))
        self.channel_mixer = Mlp(chs)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.se(self.token_mixer(x))
        return x + self.channel_mixer(x)


class Downsample(nn.Layer):
    """A block, a strided depthwise convolution, a 1x1 convolution to out_chs, an Mlp with a skip."""

    def __init__(self, in_chs: int, out_chs: int):
        super().__init__()
        self.pre_block = Block(in_chs, se=False)
        self.spatial_downsample = ConvNorm(in_chs, in_chs, 3, 2, in_chs)
        self.channel_downsample = ConvNorm(in_chs, out_chs)
        self.ffn = Mlp(out_chs)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.channel_downsample(self.spatial_downsample(self.pre_block(x)))
        return x + self.ffn(x)


def _stem(in_chs, out_chs):
    return nn.Sequential(
        ("conv1", ConvNorm(in_chs, out_chs // 2, 3, 2)), ("act1", nn.GELU()),
        ("conv2", ConvNorm(out_chs // 2, out_chs, 3, 2)))


def _stage(in_chs, out_chs, depth):
    """Every other block has SE; the first stage, whose channels stay, does not down-sample."""
    downsample = nn.Identity() if in_chs == out_chs else Downsample(in_chs, out_chs)
    blocks = [Block(out_chs, se=index % 2 == 0) for index in range(depth)]
    return nn.Sequential(("downsample", downsample), ("blocks", nn.Sequential(*blocks)))


class RepViT(FeatureNet):
    """Features: stages.0 to stages.3, at strides 4, 8, 16, 32.

    Args:
        chs, depths: of each stage.
        drop_path_rate: must be 0: RepViT has no stochastic depth.
        Others: see FeatureNet and create_model.

    Raises:
        UserError: drop_path_rate is not 0.
    """

    CLASSIFIER = "head"

    def __init__(self, chs: Sequence[int], depths: Sequence[int], num_classes: int = 1000, in_chans: int = 3,
                 features_only: bool = False, out_indices: int | Sequence[int] | None = None, drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, pool: str = "avg"):
        if drop_path_rate:
            raise UserError(f"drop_path_rate is {drop_path_rate}, but RepViT has no stochastic depth; set it to 0")
        super().__init__(num_classes, in_chans, features_only, out_indices, drop_rate, pool)
        self.stem = _stem(in_chans, chs[0])
        self.stages = nn.Sequential()
        steps, in_chs = [Step(("stem",), 4, chs[0])], chs[0]
        for index, (out_chs, depth) in enumerate(zip(chs, depths)):
            self.stages.add_sublayer(str(index), _stage(in_chs, out_chs, depth))
            steps.append(Step((f"stages.{index}",), 4 * 2 ** index, out_chs, tap=f"stages.{index}"))
            in_chs = out_chs
        self._set_steps(steps)
        if self.num_classes:
            self.head = Classifier(self.num_features, self.num_classes)
        self._init_weights()

    def _init_weights(self):
        for layer in self.sublayers():
            if isinstance(layer, nn.Conv2D):  # torch's own start of a convolution
                bound = 1.0 / math.sqrt(math.prod(layer.weight.shape[1:]))
                for parameter in (layer.weight, layer.bias):
                    if parameter is not None:
                        uniform_(parameter, bound)
            elif isinstance(layer, nn.Linear):
                normal_(layer.weight, 0.02)
                constant_(layer.bias, 0.0)

    def fuse(self) -> nn.Layer:
        """Merge branches and BatchNorms into single convolutions, in place; what eval mode computes stays the same.

        For export: names and shapes of the parameters are then timm's after its ``fuse()``, and no longer fit a
        checkpoint of the trained form. Fused layers do not train as their branches did.

        Returns:
            The network itself, in eval mode.
        """
        _fuse_sublayers(self)
        self.eval()
        return self


def _fuse_sublayers(layer):
    for name, sublayer in layer.named_children():
        if hasattr(sublayer, "fuse"):
            layer._sub_layers[name] = sublayer.fuse()
        else:
            _fuse_sublayers(sublayer)


def _array(parameter):
    return parameter.numpy().astype("float64")


def _scale_and_shift(norm):
    """A BatchNorm in eval mode is scale * x + shift."""
    scale = _array(norm.weight) / np.sqrt(_array(norm._variance) + norm._epsilon)
    return scale, _array(norm.bias) - scale * _array(norm._mean)


def _through_norm(weight, bias, norm):
    """(weight, bias) of a convolution with the BatchNorm after it merged in."""
    scale, shift = _scale_and_shift(norm)
    return weight * scale[:, None, None, None], bias * scale + shift


def _fill(layer, weight, bias, like):
    """``layer`` with these values, in the number type of the layer ``like``."""
    layer.to(dtype=like.weight.dtype)
    for parameter, value in ((layer.weight, weight), (layer.bias, bias)):
        parameter.set_value(value.astype(like.weight.numpy().dtype))
    return layer


for _name, _variant in VARIANTS.items():
    register_model(_name, family="repvit")(functools.partial(RepViT, **_variant))
