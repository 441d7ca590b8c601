# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""RegNet X and Y (Radosavovic et al. 2020, arXiv:2003.13678) as in timm: widths from a formula, Y with SE."""
from __future__ import annotations

import collections
import functools
import math
from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from ..nn import ConvNormAct, SqueezeExcite, constant_, drop_path, normal_
from .features import FeatureNet, Step
from .model_registry import register_model

STEM_CHS = 32
WIDTH_STEP = 8  # all widths are multiples of it
SE_RATIO = 0.25

# initial width, slope, multiplier, channels of a group, blocks: the paper's w_0, w_a, w_m, g, d
X = {
    "002": (24, 36.44, 2.49, 8, 13),
    "004": (24, 24.48, 2.54, 16, 22),
    "006": (48, 36.97, 2.24, 24, 16),
    "008": (56, 35.73, 2.28, 16, 16),
    "016": (80, 34.01, 2.25, 24, 18),
    "032": (88, 26.31, 2.25, 48, 25),
    "040": (96, 38.65, 2.43, 40, 23),
    "064": (184, 60.83, 2.07, 56, 17),
    "080": (80, 49.56, 2.88, 120, 23),
    "120": (168, 73.36, 2.37, 112, 19),
}
Y = {
    "002": (24, 36.44, 2.49, 8, 13),
    "004": (48, 27.89, 2.09, 8, 16),
    "006": (48, 32.54, 2.32, 16, 15),
    "008": (56, 38.84, 2.4, 16, 14),
    "016": (48, 20.71, 2.65, 24, 27),
    "032": (80, 42.63, 2.66, 24, 21),
    "040": (96, 31.41, 2.24, 64, 22),
    "064": (112, 33.22, 2.27, 72, 25),
    "080": (192, 76.82, 2.19, 56, 17),
    "120": (168, 73.36, 2.37, 112, 19),
}


def stage_shapes(initial: int, slope: float, multiplier: float, group_chs: int,
                 depth: int) -> list[tuple[int, int, int]]:
    """[(channels, blocks, channels of a group)] of each stage, by the paper's equations 2 to 4.

    A line over the blocks' indices, rounded to powers of ``multiplier``, then to multiples of WIDTH_STEP; blocks of
    one width are a stage. Its channels are then rounded to whole groups.
    """
    blocks: collections.Counter[int] = collections.Counter()
    for index in range(depth):
        power = round(math.log(1 + slope * index / initial) / math.log(multiplier))
        blocks[round(initial * multiplier ** power / WIDTH_STEP) * WIDTH_STEP] += 1
    stages = [(chs, count, min(group_chs, chs)) for chs, count in sorted(blocks.items())]
    return [(round(chs / group) * group, count, group) for chs, count, group in stages]


class Bottleneck(nn.Layer):
    """1x1, grouped 3x3 (which has the stride), SE where wanted, 1x1, and a skip; all of out_chs channels."""

    def __init__(self, in_chs: int, out_chs: int, stride: int, group_chs: int, se: bool, drop_rate: float):
        super().__init__()
        self.conv1 = ConvNormAct(in_chs, out_chs)
        self.conv2 = ConvNormAct(out_chs, out_chs, 3, stride, groups=out_chs // group_chs)
        self.se: nn.Layer = nn.Identity()
        if se:
            self.se = SqueezeExcite(out_chs, round(in_chs * SE_RATIO), names=("fc1", "fc2"))
        self.conv3 = ConvNormAct(out_chs, out_chs, act=None)
        self.downsample: nn.Layer = nn.Identity()
        if stride > 1 or in_chs != out_chs:
            self.downsample = ConvNormAct(in_chs, out_chs, 1, stride, act=None)
        self.drop_path = drop_path(drop_rate)
        self.act3 = nn.ReLU()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.conv3(self.se(self.conv2(self.conv1(x))))
        return self.act3(self.drop_path(y) + self.downsample(x))

    def last_norm(self) -> nn.Layer:
        """The BatchNorm that ends the residual branch."""
        return self.conv3.bn


class RegNet(FeatureNet):
    """Features: the stem (stride 2), then s1 to s4.

    Args:
        shape: (initial, slope, multiplier, group_chs, depth) of ``stage_shapes``.
        se: squeeze and excitation in the blocks: RegNetY.
        zero_init_last: start residual branches at zero.
        Others: see FeatureNet and create_model.
    """

    CLASSIFIER = "head.fc"

    def __init__(self, shape: tuple[Any, ...], se: bool = False, num_classes: int = 1000, in_chans: int = 3,
                 features_only: bool = False, out_indices: int | Sequence[int] | None = None, drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, pool: str = "avg", zero_init_last: bool = True):
        super().__init__(num_classes, in_chans, features_only, out_indices, drop_rate, pool)
        self.stem = ConvNormAct(in_chans, STEM_CHS, 3, stride=2)
        steps, in_chs, done = [Step(("stem",), 2, STEM_CHS, tap="stem")], STEM_CHS, 0
        total = shape[-1]
        for index, (chs, depth, group_chs) in enumerate(stage_shapes(*shape)):
            rates = [drop_path_rate * block / (total - 1) for block in range(done, done + depth)]
            name = f"s{index + 1}"
            self.add_sublayer(name, _stage(in_chs, chs, group_chs, se, rates))
            steps.append(Step((name,), 4 * 2 ** index, chs, tap=name))
            in_chs, done = chs, done + depth
        self._set_steps(steps)
        if self.num_classes:
            self.head = nn.Sequential(("fc", nn.Linear(self.num_features, self.num_classes)))
        self._init_weights(zero_init_last)

    def _init_weights(self, zero_init_last):
        for layer in self.sublayers():
            if isinstance(layer, Bottleneck):
                grouped = layer.conv2.conv.weight  # Kaiming over the outputs of one group
                normal_(grouped, math.sqrt(2.0 / math.prod(grouped.shape[1:])))
                if zero_init_last:
                    constant_(layer.last_norm().weight, 0.0)
            elif isinstance(layer, nn.Linear):
                normal_(layer.weight, 0.01)
                constant_(layer.bias, 0.0)


def _stage(in_chs, chs, group_chs, se, drop_rates):
    blocks = []
    for index, rate in enumerate(drop_rates):
        block = Bottleneck(in_chs if index == 0 else chs, chs, 2 if index == 0 else 1, group_chs, se, rate)
        blocks.append((f"b{index + 1}", block))
    return nn.Sequential(*blocks)


VARIANTS: dict[str, dict[str, Any]] = {
    **{f"regnety_{size}": dict(shape=shape, se=True) for size, shape in Y.items()},
    **{f"regnetx_{size}": dict(shape=shape) for size, shape in X.items()},
}

for _name, _variant in VARIANTS.items():
    register_model(_name, family="regnet")(functools.partial(RegNet, **_variant))
