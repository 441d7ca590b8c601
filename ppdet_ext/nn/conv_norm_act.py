# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Convolution, batch normalisation, activation: timm's ConvNormAct, with its names ``conv`` and ``bn``."""
from paddle import nn

from .conv2d import conv2d


class ConvNormAct(nn.Layer):
    """[B, in_chs, H, W] -> [B, out_chs, H / stride, W / stride]; ``act`` makes the activation, None for none."""

    def __init__(self, in_chs, out_chs, kernel_size=1, stride=1, groups=1, act=nn.ReLU):
        super().__init__()
        self.conv = conv2d(in_chs, out_chs, kernel_size, stride, groups)
        self.bn = nn.BatchNorm2D(out_chs)
        self.act = act() if act else nn.Identity()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))
