# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""EfficientNet-Lite 0 to 4 (Tan and Le 2019, arXiv:1905.11946; google's "lite" variants: no SE, ReLU6, fixed stem)."""
import functools
import math

from paddle import nn

from ._features import FeatureNet, Step
from ._registry import register_model
from .layers import constant_, conv2d, drop_path, make_divisible, uniform_

STEM_CHS, HEAD_CHS = 32, 1280
BN_EPSILON = 1e-3

# kind, repeats, kernel size, stride, expansion, output channels
STAGES = (
    ("ds", 1, 3, 1, 1, 16),
    ("ir", 2, 3, 2, 6, 24),
    ("ir", 2, 5, 2, 6, 40),
    ("ir", 3, 3, 2, 6, 80),
    ("ir", 3, 5, 1, 6, 112),
    ("ir", 4, 5, 2, 6, 192),
    ("ir", 1, 3, 1, 6, 320),
)

VARIANTS = {
    "tf_efficientnet_lite0": dict(width=1.0, depth=1.0),
    "tf_efficientnet_lite1": dict(width=1.0, depth=1.1),
    "tf_efficientnet_lite2": dict(width=1.1, depth=1.2),
    "tf_efficientnet_lite3": dict(width=1.2, depth=1.4),
    "tf_efficientnet_lite4": dict(width=1.4, depth=1.8),
}


def _norm(channels):
    return nn.BatchNorm2D(channels, epsilon=BN_EPSILON)


class DepthwiseSeparable(nn.Layer):
    """Depthwise convolution, then a linear 1x1 one."""

    def __init__(self, in_chs, out_chs, kernel_size, stride, expansion, drop_rate):
        super().__init__()
        self.has_skip = stride == 1 and in_chs == out_chs
        self.conv_dw = conv2d(in_chs, in_chs, kernel_size, stride, groups=in_chs, tf=True)
        self.bn1 = _norm(in_chs)
        self.conv_pw = conv2d(in_chs, out_chs, 1)
        self.bn2 = _norm(out_chs)
        self.act = nn.ReLU6()
        self.drop_path = drop_path(drop_rate)

    def forward(self, x):
        y = self.act(self.bn1(self.conv_dw(x)))
        y = self.bn2(self.conv_pw(y))
        return self.drop_path(y) + x if self.has_skip else y


class InvertedResidual(nn.Layer):
    """Widen by 1x1, filter depthwise, narrow by a linear 1x1 (MobileNetV2, arXiv:1801.04381)."""

    def __init__(self, in_chs, out_chs, kernel_size, stride, expansion, drop_rate):
        super().__init__()
        self.has_skip = stride == 1 and in_chs == out_chs
        mid_chs = make_divisible(in_chs * expansion)
        self.conv_pw = conv2d(in_chs, mid_chs, 1)
        self.bn1 = _norm(mid_chs)
        self.conv_dw = conv2d(mid_chs, mid_chs, kernel_size, stride, groups=mid_chs, tf=True)
        self.bn2 = _norm(mid_chs)
        self.conv_pwl = conv2d(mid_chs, out_chs, 1)
        self.bn3 = _norm(out_chs)
        self.act = nn.ReLU6()
        self.drop_path = drop_path(drop_rate)

    def forward(self, x):
        y = self.act(self.bn1(self.conv_pw(x)))
        y = self.act(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        return self.drop_path(y) + x if self.has_skip else y


BLOCKS = {"ds": DepthwiseSeparable, "ir": InvertedResidual}


class EfficientNet(FeatureNet):
    """EfficientNet-Lite; features at strides 2, 4, 8, 16, 32.

    Args:
        width, depth: multipliers of channels and repeats (stem and head keep their size, the first and the last
            stage their depth).
        Others: see FeatureNet and create_model.
    """

    HEAD = ("conv_head", "bn2", "act2")
    CLASSIFIER = "classifier"

    def __init__(self, width, depth, num_classes=1000, in_chans=3, features_only=False, out_indices=None,
                 drop_rate=0.0, drop_path_rate=0.0, pool="avg"):
        super().__init__(num_classes, in_chans, features_only, out_indices, drop_rate, pool)
        self.conv_stem = conv2d(in_chans, STEM_CHS, 3, stride=2, tf=True)
        self.bn1 = _norm(STEM_CHS)
        self.act1 = nn.ReLU6()
        steps = self._add_blocks(width, _repeats(depth), drop_path_rate)
        self._set_steps([Step(("conv_stem", "bn1", "act1"), 2, STEM_CHS), *steps])
        if not features_only:
            self._add_head()

    def _add_blocks(self, width, repeats, drop_path_rate):
        self.blocks = nn.Sequential()
        steps, in_chs, reduction, done = [], STEM_CHS, 2, 0
        for index, (kind, _, kernel_size, stride, expansion, chs) in enumerate(STAGES):
            out_chs = make_divisible(chs * width)
            stage = nn.Sequential()
            for block in range(repeats[index]):
                stage.add_sublayer(str(block), BLOCKS[kind](
                    in_chs, out_chs, kernel_size, stride if block == 0 else 1, expansion,
                    drop_path_rate * done / sum(repeats)))
                in_chs, done = out_chs, done + 1
            reduction *= stride
            ends_level = index + 1 == len(STAGES) or STAGES[index + 1][3] > 1
            path = f"blocks.{index}"
            self.blocks.add_sublayer(str(index), stage)
            steps.append(Step((path,), reduction, out_chs, tap=path if ends_level else ""))
        return steps

    def _add_head(self):
        self.conv_head = conv2d(self.num_features, HEAD_CHS, 1)
        self.bn2 = _norm(HEAD_CHS)
        self.act2 = nn.ReLU6()
        self.num_features = HEAD_CHS
        if self.num_classes:
            self.classifier = nn.Linear(HEAD_CHS, self.num_classes)
            uniform_(self.classifier.weight, 1.0 / math.sqrt(self.num_classes))
            constant_(self.classifier.bias, 0.0)


def _repeats(depth):
    inner = range(1, len(STAGES) - 1)
    return [math.ceil(stage[1] * depth) if i in inner else stage[1] for i, stage in enumerate(STAGES)]


for _name, _variant in VARIANTS.items():
    register_model(_name, family="efficientnet")(functools.partial(EfficientNet, **_variant))
