# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Convolution, batch normalisation, activation: timm's ConvNormAct, with its names ``conv`` and ``bn``."""
from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle import nn

from .conv2d import conv2d


class ConvNormAct(nn.Layer):
    """[B, in_chs, H, W] -> [B, out_chs, H / stride, W / stride]; ``act`` makes the activation, None for none."""

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 1, stride: int = 1, groups: int = 1,
                 act: Callable[[], nn.Layer] | None = nn.ReLU):
        super().__init__()
        self.conv = conv2d(in_chs, out_chs, kernel_size, stride, groups)
        self.bn = nn.BatchNorm2D(out_chs)
        self.act = act() if act else nn.Identity()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, in_chs, H, W] -> [B, out_chs, H / stride, W / stride]."""
        return self.act(self.bn(self.conv(x)))
