# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""MobileNetV3 (Howard et al. 2019, arXiv:1905.02244): EfficientNet's plan, other tables, a head after the pooling.

Names that begin with tf_ stand for weights trained in TensorFlow; "minimal" ones do without squeeze and excitation,
5x5 kernels and hard swish.
"""
from __future__ import annotations

import functools

import paddle
from paddle import nn

from ..nn import SqueezeExcite, make_divisible
from ..nn.mbconv import Run, Style
from .efficientnet import TF, EfficientNet
from .model_registry import register_model


class MobileNetV3(EfficientNet):
    """Features at strides 2, 4, 8, 16, 32; the small one's first is the stem. Arguments as EfficientNet's."""

    HEAD: tuple[str, ...] = ()

    def _set_steps(self, steps):
        super()._set_steps(steps)
        if self.features_only:
            self.unused_prefixes += ("conv_head.",)

    def _add_head(self, style, head_chs):
        self.conv_head = style.conv(self.num_features, head_chs, bias=True)
        self.act2 = style.act()

    def forward_head(self, x: paddle.Tensor, pre_logits: bool = False) -> paddle.Tensor:
        """The last stage's map -> logits [B, num_classes] (hidden features with pre_logits or without a classifier)."""
        pooled = self._pool(x)
        is_map = len(pooled.shape) == 4  # pool='' keeps it one
        x = self.act2(self.conv_head(pooled if is_map else pooled.unsqueeze([2, 3])))
        x = self.head_dropout(x if is_map else x.flatten(1))
        return x if pre_logits or not self.num_classes else self.classifier(x)


def _squeeze(in_chs, mid_chs, ratio):
    return SqueezeExcite(mid_chs, make_divisible(mid_chs * ratio), act=nn.ReLU, gate=nn.Hardsigmoid)


def _minimal(stages):
    return [[run._replace(kernel_size=min(run.kernel_size, 3), se=0.0) for run in runs] for runs in stages]


# kind, repeats, kernel size, stride, expansion, output channels
LARGE = [
    [Run("ds", 1, 3, 1, 1, 16, act=nn.ReLU)],
    [Run("ir", 1, 3, 2, 4, 24, act=nn.ReLU), Run("ir", 1, 3, 1, 3, 24, act=nn.ReLU)],
    [Run("ir", 3, 5, 2, 3, 40, se=0.25, act=nn.ReLU)],
    [Run("ir", 1, 3, 2, 6, 80), Run("ir", 1, 3, 1, 2.5, 80), Run("ir", 2, 3, 1, 2.3, 80)],
    [Run("ir", 2, 3, 1, 6, 112, se=0.25)],
    [Run("ir", 3, 5, 2, 6, 160, se=0.25)],
    [Run("cn", 1, 1, 1, 1, 960)],
]
SMALL = [
    [Run("ds", 1, 3, 2, 1, 16, se=0.25, act=nn.ReLU)],
    [Run("ir", 1, 3, 2, 4.5, 24, act=nn.ReLU), Run("ir", 1, 3, 1, 3.67, 24, act=nn.ReLU)],
    [Run("ir", 1, 5, 2, 4, 40, se=0.25), Run("ir", 2, 5, 1, 6, 40, se=0.25)],
    [Run("ir", 2, 5, 1, 3, 48, se=0.25)],
    [Run("ir", 3, 5, 2, 6, 96, se=0.25)],
    [Run("cn", 1, 1, 1, 1, 576)],
]
PLAIN = Style(nn.Hardswish, _squeeze)
TF_STYLE = Style(nn.Hardswish, _squeeze, **TF)
TF_MINIMAL = Style(nn.ReLU, **TF)

SIZES = {
    "large": dict(stages=LARGE, head_chs=1280),
    "small": dict(stages=SMALL, head_chs=1024),
    "large_minimal": dict(stages=_minimal(LARGE), head_chs=1280),
    "small_minimal": dict(stages=_minimal(SMALL), head_chs=1024),
}

# size, style, width
VARIANTS = {
    "mobilenetv3_small_050": ("small", PLAIN, 0.5),
    "mobilenetv3_small_075": ("small", PLAIN, 0.75),
    "mobilenetv3_small_100": ("small", PLAIN, 1.0),
    "mobilenetv3_large_075": ("large", PLAIN, 0.75),
    "mobilenetv3_large_100": ("large", PLAIN, 1.0),
    "tf_mobilenetv3_large_075": ("large", TF_STYLE, 0.75),
    "tf_mobilenetv3_large_100": ("large", TF_STYLE, 1.0),
    "tf_mobilenetv3_large_minimal_100": ("large_minimal", TF_MINIMAL, 1.0),
    "tf_mobilenetv3_small_075": ("small", TF_STYLE, 0.75),
    "tf_mobilenetv3_small_100": ("small", TF_STYLE, 1.0),
    "tf_mobilenetv3_small_minimal_100": ("small_minimal", TF_MINIMAL, 1.0),
}
for _name, (_size, _style, _width) in VARIANTS.items():
    register_model(_name, family="mobilenetv3")(functools.partial(
        MobileNetV3, style=_style, width=_width, stem_chs=16, fixed_ends=True, **SIZES[_size]))
