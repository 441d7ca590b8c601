# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""EfficientNet B0 to B4 (Tan and Le 2019, arXiv:1905.11946), V2-S (2021, arXiv:2104.00298) and Lite 0 to 4.

Lite is google's variant without squeeze and excitation, with ReLU6 and a stem of fixed width. Names that begin with
tf_ stand for weights trained in TensorFlow: its padding, its BatchNorm epsilon.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from paddle import nn

from ..nn import SqueezeExcite, constant_, make_divisible, uniform_
from ..nn.activation import SiLU
from ..nn.mbconv import BLOCKS, Run, Style
from .features import FeatureNet, Step
from .model_registry import register_model

TF: dict[str, Any] = dict(epsilon=1e-3, same=True)


class EfficientNet(FeatureNet):
    """Stem, stages of mobile blocks, 1x1 head; features at strides 2, 4, 8, 16, 32.

    Args:
        stages: lists of Runs; style: Style of all blocks.
        stem_chs, head_chs: channels before and after the stages.
        width, depth: multipliers of channels and repeats.
        fixed_ends: stem and head keep their width, the first and the last stage their depth.
        Others: see FeatureNet and create_model.
    """

    HEAD: tuple[str, ...] = ("conv_head", "bn2", "act2")
    CLASSIFIER = "classifier"

    def __init__(self, stages: Sequence[Sequence[Run]], style: Style, stem_chs: int = 32, head_chs: int = 1280,
                 width: float = 1.0, depth: float = 1.0, fixed_ends: bool = False, num_classes: int = 1000,
                 in_chans: int = 3, features_only: bool = False, out_indices: int | Sequence[int] | None = None,
                 drop_rate: float = 0.0, drop_path_rate: float = 0.0, pool: str = "avg"):
        super().__init__(num_classes, in_chans, features_only, out_indices, drop_rate, pool)
        if not fixed_ends:
            stem_chs, head_chs = make_divisible(stem_chs * width), make_divisible(head_chs * width)
        self.conv_stem = style.conv(in_chans, stem_chs, 3, stride=2)
        self.bn1 = style.norm(stem_chs)
        self.act1 = style.act()
        stem_ends_level = stages[0][0].stride > 1
        stem = Step(("conv_stem", "bn1", "act1"), 2, stem_chs, tap="bn1" if stem_ends_level else "")
        blocks = _blocks(stages, depth, range(1, len(stages) - 1) if fixed_ends else range(len(stages)))
        self._set_steps([stem, *self._add_stages(blocks, style, stem_chs, width, drop_path_rate)])
        if not features_only:
            self._add_head(style, head_chs)
            if self.num_classes:
                self._add_classifier(head_chs)

    def _add_stages(self, stages, style, in_chs, width, drop_path_rate):
        self.blocks = nn.Sequential()
        steps, reduction, done, total = [], 2, 0, sum(map(len, stages))
        for index, blocks in enumerate(stages):
            stage = nn.Sequential()
            for block, run in enumerate(blocks):
                out_chs = make_divisible(run.chs * width)
                stage.add_sublayer(str(block), BLOCKS[run.kind](style, run, in_chs, out_chs, run.stride,
                                                                drop_path_rate * done / total))
                in_chs, reduction, done = out_chs, reduction * run.stride, done + 1
            ends_level = index + 1 == len(stages) or stages[index + 1][0].stride > 1
            path = f"blocks.{index}"
            self.blocks.add_sublayer(str(index), stage)
            steps.append(Step((path,), reduction, in_chs, tap=path if ends_level else ""))
        return steps

    def _add_head(self, style, head_chs):
        self.conv_head = style.conv(self.num_features, head_chs)
        self.bn2 = style.norm(head_chs)
        self.act2 = style.act()
        self.num_features = head_chs

    def _add_classifier(self, in_chs):
        self.classifier = nn.Linear(in_chs, self.num_classes)
        uniform_(self.classifier.weight, 1.0 / math.sqrt(self.num_classes))
        constant_(self.classifier.bias, 0.0)


def _blocks(stages, depth, scaled):
    """One Run per block, for each stage; the stages ``scaled`` (indices) have ``depth`` times the repeats."""
    def repeats(index, run):
        return math.ceil(run.repeats * depth) if index in scaled else run.repeats

    return [[run if block == 0 else run._replace(stride=1) for run in runs for block in range(repeats(index, run))]
            for index, runs in enumerate(stages)]


def _squeeze(in_chs, mid_chs, ratio):
    return SqueezeExcite(mid_chs, round(in_chs * ratio), act=SiLU)


# kind, repeats, kernel size, stride, expansion, output channels
B0 = [
    [Run("ds", 1, 3, 1, 1, 16, se=0.25)],
    [Run("ir", 2, 3, 2, 6, 24, se=0.25)],
    [Run("ir", 2, 5, 2, 6, 40, se=0.25)],
    [Run("ir", 3, 3, 2, 6, 80, se=0.25)],
    [Run("ir", 3, 5, 1, 6, 112, se=0.25)],
    [Run("ir", 4, 5, 2, 6, 192, se=0.25)],
    [Run("ir", 1, 3, 1, 6, 320, se=0.25)],
]
LITE = [[run._replace(se=0.0) for run in runs] for runs in B0]
V2_S = [
    [Run("cn", 2, 3, 1, 1, 24)],
    [Run("er", 4, 3, 2, 4, 48)],
    [Run("er", 4, 3, 2, 4, 64)],
    [Run("ir", 6, 3, 2, 4, 128, se=0.25)],
    [Run("ir", 9, 3, 1, 6, 160, se=0.25)],
    [Run("ir", 15, 3, 2, 6, 256, se=0.25)],
]
# timm's own, drawn from the paper's figure before the authors' code was out
V2_RW_S = [[Run("er", 2, 3, 1, 1, 24)], *V2_S[1:-1], [Run("ir", 15, 3, 2, 6, 272, se=0.25)]]

SCALES = [  # of B0 to B4, and of Lite 0 to 4
    dict(width=1.0, depth=1.0),
    dict(width=1.0, depth=1.1),
    dict(width=1.1, depth=1.2),
    dict(width=1.2, depth=1.4),
    dict(width=1.4, depth=1.8),
]
SILU = Style(SiLU, _squeeze)
TF_SILU = Style(SiLU, _squeeze, **TF)
TF_RELU6 = Style(nn.ReLU6, **TF)

VARIANTS: dict[str, dict[str, Any]] = {
    **{f"efficientnet_b{i}": dict(stages=B0, style=SILU, **scale) for i, scale in enumerate(SCALES)},
    **{f"tf_efficientnet_b{i}": dict(stages=B0, style=TF_SILU, **scale) for i, scale in enumerate(SCALES)},
    **{f"tf_efficientnet_lite{i}": dict(stages=LITE, style=TF_RELU6, fixed_ends=True, **scale)
       for i, scale in enumerate(SCALES)},
    "efficientnetv2_s": dict(stages=V2_S, style=SILU, stem_chs=24),
    "tf_efficientnetv2_s": dict(stages=V2_S, style=TF_SILU, stem_chs=24),
    "efficientnetv2_rw_s": dict(stages=V2_RW_S, style=SILU, stem_chs=24, head_chs=1792),
}

for _name, _variant in VARIANTS.items():
    register_model(_name, family="efficientnet")(functools.partial(EfficientNet, **_variant))
