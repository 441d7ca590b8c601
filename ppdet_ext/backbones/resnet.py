# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""ResNet (He et al. 2015, arXiv:1512.03385), ResNeXt (1611.05431), wide (1605.07146) and -d (1812.01187) variants.

timm and torchvision name the parameters alike, so one class serves both; 'torchvision/resnet50' stands for theirs.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from ..nn import constant_, conv2d, drop_path, uniform_
from .features import FeatureNet, Step
from .model_registry import register_model


class BasicBlock(nn.Layer):
    """Two 3x3 convolutions and a skip."""

    expansion = 1

    def __init__(self, in_chs: int, chs: int, stride: int, cardinality: int, base_width: int, downsample: nn.Layer,
                 drop_rate: float):
        super().__init__()
        self.conv1 = conv2d(in_chs, chs, 3, stride)
        self.bn1 = nn.BatchNorm2D(chs)
        self.conv2 = conv2d(chs, chs, 3)
        self.bn2 = nn.BatchNorm2D(chs)
        self.act = nn.ReLU()
        self.downsample = downsample
        self.drop_path = drop_path(drop_rate)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.drop_path(self.bn2(self.conv2(y)))
        return self.act(y + self.downsample(x))

    def last_norm(self) -> nn.Layer:
        """The BatchNorm that ends the residual branch."""
        return self.bn2


class Bottleneck(nn.Layer):
    """1x1, 3x3 (which has the stride), 1x1 and a skip."""

    expansion = 4

    def __init__(self, in_chs: int, chs: int, stride: int, cardinality: int, base_width: int, downsample: nn.Layer,
                 drop_rate: float):
        super().__init__()
        width = chs * base_width // 64 * cardinality
        out_chs = chs * self.expansion
        self.conv1 = conv2d(in_chs, width, 1)
        self.bn1 = nn.BatchNorm2D(width)
        self.conv2 = conv2d(width, width, 3, stride, cardinality)
        self.bn2 = nn.BatchNorm2D(width)
        self.conv3 = conv2d(width, out_chs, 1)
        self.bn3 = nn.BatchNorm2D(out_chs)
        self.act = nn.ReLU()
        self.downsample = downsample
        self.drop_path = drop_path(drop_rate)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.act(self.bn2(self.conv2(y)))
        y = self.drop_path(self.bn3(self.conv3(y)))
        return self.act(y + self.downsample(x))

    def last_norm(self) -> nn.Layer:
        """The BatchNorm that ends the residual branch."""
        return self.bn3


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}
STAGE_CHS = (64, 128, 256, 512)


def _downsample(in_chs, out_chs, stride, average):
    """The skip's path where shapes change; ``average`` pools before an unstrided 1x1 convolution (-d variants)."""
    if stride == 1 and in_chs == out_chs:
        return nn.Identity()
    if not average:
        return nn.Sequential(conv2d(in_chs, out_chs, 1, stride), nn.BatchNorm2D(out_chs))
    # a last odd row or column is averaged over the pixels that exist, as torch's ceil_mode does
    pool = nn.AvgPool2D(2, stride, ceil_mode=True, exclusive=True) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, conv2d(in_chs, out_chs, 1), nn.BatchNorm2D(out_chs))


class ResNet(FeatureNet):
    """Features: after the stem's activation (stride 2), then layer1 to layer4.

    Args:
        block: key of BLOCKS; depths: blocks of each stage.
        cardinality, base_width: groups and width of the 3x3 convolution.
        deep: the -d variant: three 3x3 convolutions in the stem, pooling in the skips.
        stem_act: what the source calls the stem's activation.
        zero_init_last: start residual branches at zero.
        Others: see FeatureNet and create_model.
    """

    CLASSIFIER = "fc"

    def __init__(self, block: str, depths: Sequence[int], cardinality: int = 1, base_width: int = 64,
                 deep: bool = False, stem_act: str = "act1", num_classes: int = 1000, in_chans: int = 3,
                 features_only: bool = False, out_indices: int | Sequence[int] | None = None, drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, pool: str = "avg", zero_init_last: bool = True):
        super().__init__(num_classes, in_chans, features_only, out_indices, drop_rate, pool)
        self.conv1 = _deep_stem(in_chans) if deep else conv2d(in_chans, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2D(64)
        self.add_sublayer(stem_act, nn.ReLU())
        self.maxpool = nn.MaxPool2D(3, stride=2, padding=1)
        make = functools.partial(self._make_stage, BLOCKS[block], cardinality, base_width, deep)
        rates = [drop_path_rate * index / (sum(depths) - 1) for index in range(sum(depths))]
        steps, in_chs = [Step(("conv1", "bn1", stem_act), 2, 64, tap=stem_act)], 64
        for index, (depth, chs) in enumerate(zip(depths, STAGE_CHS)):
            first = sum(depths[:index])
            name = f"layer{index + 1}"
            self.add_sublayer(name, make(in_chs, chs, 1 if index == 0 else 2, rates[first:first + depth]))
            in_chs = chs * BLOCKS[block].expansion
            steps.append(Step(("maxpool", name) if index == 0 else (name,), 4 * 2 ** index, in_chs, tap=name))
        self._set_steps(steps)
        if self.num_classes:
            self.fc = nn.Linear(self.num_features, self.num_classes)
        self._init_weights(zero_init_last)

    @staticmethod
    def _make_stage(block: type[BasicBlock] | type[Bottleneck], cardinality: int, base_width: int, average: bool,
                    in_chs: int, chs: int, stride: int, drop_rates: Sequence[float]) -> nn.Sequential:
        blocks = []
        for index, rate in enumerate(drop_rates):
            stride = stride if index == 0 else 1
            skip = _downsample(in_chs, chs * block.expansion, stride, average)
            blocks.append(block(in_chs, chs, stride, cardinality, base_width, skip, rate))
            in_chs = chs * block.expansion
        return nn.Sequential(*blocks)

    def _init_weights(self, zero_init_last):
        for layer in self.sublayers():
            if zero_init_last and hasattr(layer, "last_norm"):
                constant_(layer.last_norm().weight, 0.0)
        if self.num_classes:  # torch's own start of a Linear
            bound = 1.0 / math.sqrt(self.num_features)
            uniform_(self.fc.weight, bound)
            uniform_(self.fc.bias, bound)


def _deep_stem(in_chs):
    return nn.Sequential(
        conv2d(in_chs, 32, 3, stride=2), nn.BatchNorm2D(32), nn.ReLU(),
        conv2d(32, 32, 3), nn.BatchNorm2D(32), nn.ReLU(),
        conv2d(32, 64, 3))


VARIANTS: dict[str, dict[str, Any]] = {
    "resnet18": dict(block="basic", depths=(2, 2, 2, 2)),
    "resnet34": dict(block="basic", depths=(3, 4, 6, 3)),
    "resnet50": dict(block="bottleneck", depths=(3, 4, 6, 3)),
    "resnet101": dict(block="bottleneck", depths=(3, 4, 23, 3)),
    "resnet18d": dict(block="basic", depths=(2, 2, 2, 2), deep=True),
    "resnet34d": dict(block="basic", depths=(3, 4, 6, 3), deep=True),
    "resnet50d": dict(block="bottleneck", depths=(3, 4, 6, 3), deep=True),
    "resnet101d": dict(block="bottleneck", depths=(3, 4, 23, 3), deep=True),
    "resnext50_32x4d": dict(block="bottleneck", depths=(3, 4, 6, 3), cardinality=32, base_width=4),
    "wide_resnet50_2": dict(block="bottleneck", depths=(3, 4, 6, 3), base_width=128),
}
TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101", "resnext50_32x4d", "wide_resnet50_2")

for _name, _variant in VARIANTS.items():
    register_model(_name, family="resnet")(functools.partial(ResNet, **_variant))
for _name in TORCHVISION:
    # torchvision starts the last BatchNorm of a branch at one, and calls the activation "relu"
    register_model(f"torchvision/{_name}", family="resnet", source="torchvision")(
        functools.partial(ResNet, zero_init_last=False, stem_act="relu", **VARIANTS[_name]))
