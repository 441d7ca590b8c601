# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""CSPResNet, CSPResNeXt, CSPDarkNet as in timm (Wang et al. 2019, arXiv:1911.11929). Not PP-YOLOE's CSPResNet."""
from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from ..nn import ConvNormAct, LeakyReLU, constant_, drop_path, normal_
from .features import FeatureNet, Step
from .model_registry import register_model


class Stem(nn.Sequential):
    """3x3 or 7x7 convolutions conv1, conv2, ... (the first with ``stride``), then max pooling where ``pool``."""

    def __init__(self, in_chs: int, out_chs: Sequence[int], kernel_size: int, stride: int, pool: bool):
        super().__init__()
        for index, chs in enumerate(out_chs):
            conv = ConvNormAct(in_chs, chs, kernel_size, stride if index == 0 else 1, act=LeakyReLU)
            self.add_sublayer(f"conv{index + 1}", conv)
            in_chs = chs
        if pool:
            self.add_sublayer("pool", nn.MaxPool2D(3, stride=2, padding=1))


class Bottleneck(nn.Layer):
    """1x1, 3x3, 1x1 with a skip and an activation after the sum."""

    def __init__(self, in_chs: int, out_chs: int, bottle_ratio: float, groups: int, drop_rate: float):
        super().__init__()
        mid_chs = round(out_chs * bottle_ratio)
        self.conv1 = ConvNormAct(in_chs, mid_chs, act=LeakyReLU)
        self.conv2 = ConvNormAct(mid_chs, mid_chs, 3, groups=groups, act=LeakyReLU)
        self.conv3 = ConvNormAct(mid_chs, out_chs, act=None)
        self.drop_path = drop_path(drop_rate)
        self.act3 = LeakyReLU()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.act3(self.drop_path(self.conv3(self.conv2(self.conv1(x)))) + x)

    def last_norm(self) -> nn.Layer:
        """The BatchNorm that ends the residual branch."""
        return self.conv3.bn


class DarkBlock(nn.Layer):
    """1x1, 3x3 with a skip and no activation after the sum."""

    def __init__(self, in_chs: int, out_chs: int, bottle_ratio: float, groups: int, drop_rate: float):
        super().__init__()
        mid_chs = round(out_chs * bottle_ratio)
        self.conv1 = ConvNormAct(in_chs, mid_chs, act=LeakyReLU)
        self.conv2 = ConvNormAct(mid_chs, out_chs, 3, groups=groups, act=LeakyReLU)
        self.drop_path = drop_path(drop_rate)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.drop_path(self.conv2(self.conv1(x))) + x

    def last_norm(self) -> nn.Layer:
        """The BatchNorm that ends the residual branch."""
        return self.conv2.bn


BLOCKS = {"bottle": Bottleneck, "dark": DarkBlock}


class CrossStage(nn.Layer):
    """Down-sample, widen, send one half through the blocks, join both halves.

    Args:
        expand_ratio: channels that are split in halves, over out_chs.
        block_ratio: channels of a block's output, over out_chs.
        cross_linear: no activation before the split.
        down_growth: the down-sampling convolution gives out_chs, else it keeps in_chs.
        drop_rates: stochastic depth of each block; its length is the depth.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int, drop_rates: Sequence[float],
                 block: str, expand_ratio: float = 1.0, bottle_ratio: float = 1.0,
                 block_ratio: float = 1.0, groups: int = 1, cross_linear: bool = False, down_growth: bool = False):
        super().__init__()
        exp_chs = round(out_chs * expand_ratio)
        block_chs = round(out_chs * block_ratio)
        down_chs = out_chs if down_growth else in_chs
        self.conv_down: nn.Layer = nn.Identity()
        if stride > 1:
            self.conv_down = ConvNormAct(in_chs, down_chs, 3, stride, groups, act=LeakyReLU)
        self.conv_exp = ConvNormAct(
            down_chs if stride > 1 else in_chs, exp_chs, act=None if cross_linear else LeakyReLU)
        self.blocks = nn.Sequential()
        prev_chs = exp_chs // 2
        for index, rate in enumerate(drop_rates):
            self.blocks.add_sublayer(str(index), BLOCKS[block](prev_chs, block_chs, bottle_ratio, groups, rate))
            prev_chs = block_chs
        self.conv_transition_b = ConvNormAct(prev_chs, exp_chs // 2, act=LeakyReLU)
        self.conv_transition = ConvNormAct(exp_chs, out_chs, act=LeakyReLU)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        passed, worked = paddle.split(self.conv_exp(self.conv_down(x)), 2, axis=1)
        worked = self.conv_transition_b(self.blocks(worked))
        return self.conv_transition(paddle.concat([passed, worked], axis=1))


class CSPNet(FeatureNet):
    """Features: the stem's last convolution, then each stage.

    Args:
        stem: dict(out_chs, kernel_size, stride, pool) of Stem.
        depths, out_chs: of each stage.
        stage: settings of CrossStage for every stage; ``first`` overrides them in the first one.
        Others: see FeatureNet and create_model.
    """

    CLASSIFIER = "head.fc"

    def __init__(self, stem: dict[str, Any], depths: Sequence[int], out_chs: Sequence[int], stage: dict[str, Any],
                 first: dict[str, Any] | None = None, num_classes: int = 1000, in_chans: int = 3,
                 features_only: bool = False, out_indices: int | Sequence[int] | None = None, drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, pool: str = "avg", zero_init_last: bool = True):
        super().__init__(num_classes, in_chans, features_only, out_indices, drop_rate, pool)
        self.stem = Stem(in_chans, **stem)
        tap = f"stem.conv{len(stem['out_chs'])}"
        convs = [path for path in self._paths("stem") if path != "stem.pool"]
        first_step = Step(tuple(convs), stem["stride"], stem["out_chs"][-1], tap)
        self._set_steps([first_step, *self._add_stages(stem, depths, out_chs, stage, first or {}, drop_path_rate)])
        if self.num_classes:
            self.head = nn.Sequential(("fc", nn.Linear(self.num_features, self.num_classes)))
        self._init_weights(zero_init_last)

    def _paths(self, name):
        return [f"{name}.{child}" for child in self._sub_layers[name]._sub_layers]

    def _add_stages(self, stem, depths, out_chs, stage, first, drop_path_rate):
        self.stages = nn.Sequential()
        rates = _drop_rates(drop_path_rate, depths)
        steps, in_chs, reduction = [], stem["out_chs"][-1], stem["stride"] * (2 if stem["pool"] else 1)
        for index, chs in enumerate(out_chs):
            settings = {**stage, **(first if index == 0 else {})}
            self.stages.add_sublayer(str(index), CrossStage(in_chs, chs, drop_rates=rates[index], **settings))
            in_chs, reduction = chs, reduction * settings["stride"]
            paths = ("stem.pool", f"stages.{index}") if stem["pool"] and index == 0 else (f"stages.{index}",)
            steps.append(Step(paths, reduction, chs, tap=f"stages.{index}"))
        return steps

    def _init_weights(self, zero_init_last):
        for layer in self.sublayers():
            if zero_init_last and hasattr(layer, "last_norm"):
                constant_(layer.last_norm().weight, 0.0)
            if isinstance(layer, nn.Linear):
                normal_(layer.weight, 0.01)
                constant_(layer.bias, 0.0)


def _drop_rates(drop_path_rate, depths):
    """Rates of the blocks of each stage, rising linearly over all blocks."""
    last = max(sum(depths) - 1, 1)
    starts = [sum(depths[:index]) for index in range(len(depths))]
    return [[drop_path_rate * (start + block) / last for block in range(depth)]
            for start, depth in zip(starts, depths)]


RESNET_STEM = dict(out_chs=(64,), kernel_size=7, stride=2, pool=True)
DEEP_STEM = dict(out_chs=(32, 32, 64), kernel_size=3, stride=2, pool=True)
DARKNET_STEM = dict(out_chs=(32,), kernel_size=3, stride=1, pool=False)
DEPTHS = (3, 3, 5, 2)
UNPOOLED = dict(stride=1)  # the stem's pooling has down-sampled already
RESNET_STAGE = dict(stride=2, block="bottle", cross_linear=True)

VARIANTS: dict[str, dict[str, Any]] = {
    "cspresnet50": dict(
        stem=RESNET_STEM, depths=DEPTHS, out_chs=(128, 256, 512, 1024), first=UNPOOLED,
        stage=dict(RESNET_STAGE, expand_ratio=2.0, bottle_ratio=0.5)),
    "cspresnet50d": dict(
        stem=DEEP_STEM, depths=DEPTHS, out_chs=(128, 256, 512, 1024), first=UNPOOLED,
        stage=dict(RESNET_STAGE, expand_ratio=2.0, bottle_ratio=0.5)),
    "cspresnet50w": dict(
        stem=DEEP_STEM, depths=DEPTHS, out_chs=(256, 512, 1024, 2048), first=UNPOOLED,
        stage=dict(RESNET_STAGE, bottle_ratio=0.25, block_ratio=0.5)),
    "cspresnext50": dict(
        stem=RESNET_STEM, depths=DEPTHS, out_chs=(256, 512, 1024, 2048), first=UNPOOLED,
        stage=dict(RESNET_STAGE, groups=32, block_ratio=0.5)),
    "cspdarknet53": dict(
        stem=DARKNET_STEM, depths=(1, 2, 8, 8, 4), out_chs=(64, 128, 256, 512, 1024),
        first=dict(expand_ratio=2.0, bottle_ratio=0.5, block_ratio=1.0),
        stage=dict(stride=2, block="dark", block_ratio=0.5, down_growth=True)),
}

for _name, _variant in VARIANTS.items():
    register_model(_name, family="cspnet")(functools.partial(CSPNet, **_variant))
