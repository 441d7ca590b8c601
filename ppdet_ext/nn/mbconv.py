# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The blocks of mobile networks (MobileNetV2, arXiv:1801.04381, and its heirs), and the rows of their tables.

A table is a list of stages, a stage a list of Runs. Every block is built as ``Block(style, run, in_chs, out_chs,
stride, drop_rate)`` and maps [B, in_chs, H, W] to [B, out_chs, H / stride, W / stride].
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import paddle
from paddle import nn

from .conv2d import conv2d, make_divisible
from .drop_path import drop_path


class Run(NamedTuple):
    """Like blocks in a row; the first one has the stride."""
    kind: str  # key of BLOCKS
    repeats: int
    kernel_size: int
    stride: int
    expansion: float
    chs: int
    se: float = 0.0  # ratio of squeeze and excitation, 0 for none
    act: Callable[[], nn.Layer] | None = None  # None for the network's


@dataclass(frozen=True)
class Style:
    """What the blocks of one network share.

    Args:
        act: makes an activation.
        squeeze: (input channels of the block, channels to gate, ratio) -> squeeze and excitation.
        epsilon: of BatchNorm.
        same: pad strided convolutions as TensorFlow does, see ``conv2d``.
    """
    act: Callable[[], nn.Layer]
    squeeze: Callable[[int, int, float], nn.Layer] | None = None
    epsilon: float = 1e-5
    same: bool = False

    def conv(self, in_chs: int, out_chs: int, kernel_size: int = 1, stride: int = 1, groups: int = 1,
             bias: bool = False) -> nn.Conv2D:
        """A convolution that pads as this network's do, see ``conv2d``."""
        return conv2d(in_chs, out_chs, kernel_size, stride, groups, bias, same=self.same, group_fan=True)

    def norm(self, chs: int) -> nn.BatchNorm2D:
        """Its normalisation."""
        return nn.BatchNorm2D(chs, epsilon=self.epsilon)

    def gate(self, run: Run, in_chs: int, mid_chs: int) -> nn.Layer:
        """Squeeze and excitation of mid_chs channels, where the run has one."""
        return self.squeeze(in_chs, mid_chs, run.se) if run.se and self.squeeze else nn.Identity()


class Block(nn.Layer):
    """A branch, and a skip around it where shapes allow; each kind of block builds and runs its own branch."""

    def __init__(self, style: Style, run: Run, in_chs: int, out_chs: int, stride: int, drop_rate: float):
        super().__init__()
        self.has_skip = stride == 1 and in_chs == out_chs
        self.act = (run.act or style.act)()
        self.drop_path = drop_path(drop_rate)
        self._build(style, run, in_chs, out_chs, stride)

    def _build(self, style, run, in_chs, out_chs, stride):
        raise NotImplementedError

    def _branch(self, x):
        raise NotImplementedError

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, in_chs, H, W] -> [B, out_chs, H / stride, W / stride]."""
        y = self._branch(x)
        return self.drop_path(y) + x if self.has_skip else y


class ConvBlock(Block):
    """Convolution, normalisation, activation."""

    def _build(self, style, run, in_chs, out_chs, stride):
        self.conv = style.conv(in_chs, out_chs, run.kernel_size, stride)
        self.bn1 = style.norm(out_chs)

    def _branch(self, x):
        return self.act(self.bn1(self.conv(x)))


class DepthwiseSeparable(Block):
    """Depthwise convolution, then a linear 1x1 one."""

    def _build(self, style, run, in_chs, out_chs, stride):
        self.conv_dw = style.conv(in_chs, in_chs, run.kernel_size, stride, groups=in_chs)
        self.bn1 = style.norm(in_chs)
        self.se = style.gate(run, in_chs, in_chs)
        self.conv_pw = style.conv(in_chs, out_chs)
        self.bn2 = style.norm(out_chs)

    def _branch(self, x):
        x = self.se(self.act(self.bn1(self.conv_dw(x))))
        return self.bn2(self.conv_pw(x))


class InvertedResidual(Block):
    """Widen by 1x1, filter depthwise, narrow by a linear 1x1: MBConv."""

    def _build(self, style, run, in_chs, out_chs, stride):
        mid_chs = make_divisible(in_chs * run.expansion)
        self.conv_pw = style.conv(in_chs, mid_chs)
        self.bn1 = style.norm(mid_chs)
        self.conv_dw = style.conv(mid_chs, mid_chs, run.kernel_size, stride, groups=mid_chs)
        self.bn2 = style.norm(mid_chs)
        self.se = style.gate(run, in_chs, mid_chs)
        self.conv_pwl = style.conv(mid_chs, out_chs)
        self.bn3 = style.norm(out_chs)

    def _branch(self, x):
        x = self.act(self.bn1(self.conv_pw(x)))
        x = self.se(self.act(self.bn2(self.conv_dw(x))))
        return self.bn3(self.conv_pwl(x))


class EdgeResidual(Block):
    """Widen and filter in one full convolution, narrow by a linear 1x1: fused MBConv (MobileDets, arXiv:2004.14525)."""

    def _build(self, style, run, in_chs, out_chs, stride):
        mid_chs = make_divisible(in_chs * run.expansion)
        self.conv_exp = style.conv(in_chs, mid_chs, run.kernel_size, stride)
        self.bn1 = style.norm(mid_chs)
        self.se = style.gate(run, in_chs, mid_chs)
        self.conv_pwl = style.conv(mid_chs, out_chs)
        self.bn2 = style.norm(out_chs)

    def _branch(self, x):
        x = self.se(self.act(self.bn1(self.conv_exp(x))))
        return self.bn2(self.conv_pwl(x))


BLOCKS = {"cn": ConvBlock, "ds": DepthwiseSeparable, "ir": InvertedResidual, "er": EdgeResidual}
