# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""torch.nn's convolutions. Weights have the same layout in both."""
from __future__ import annotations

from typing import Any, Callable

from paddle import nn

from ._leaf_tools import attr
from ._table import leaf
from ._values import Sizes, Tensor, per_axis
from .padding import pad

ARGS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode", "bias")
TRANSPOSE_ARGS = ARGS[:-2] + ("output_padding", "bias")


def paddings(padding: Any, kernel_size: Sizes, dilation: Sizes) -> list[tuple[int, int]]:
    """(before, after) of each dimension; torch's 'same' puts the odd one after."""
    if padding == "valid":
        return [(0, 0)] * len(kernel_size)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel_size, dilation)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(each, each) for each in per_axis(padding, len(kernel_size))]


def symmetric(pads: list[tuple[int, int]]) -> list[int]:
    """Paddle's padding argument: one number a dimension where both sides agree, else both sides."""
    if all(before == after for before, after in pads):
        return [before for before, _after in pads]
    return [side for sides in pads for side in sides]


class PaddedConv(nn.Layer):
    """Mixed into a convolution without padding: what is outside is a reflection, a repetition, ..."""

    def forward(self, x: Tensor) -> Tensor:
        return self.CONV.forward(self, pad(x, self.outside, self.outside_mode))


class PaddedConv1D(PaddedConv, nn.Conv1D):
    """See PaddedConv."""
    CONV = nn.Conv1D


class PaddedConv2D(PaddedConv, nn.Conv2D):
    """See PaddedConv."""
    CONV = nn.Conv2D


class PaddedConv3D(PaddedConv, nn.Conv3D):
    """See PaddedConv."""
    CONV = nn.Conv3D


def conv(plain: type[nn.Layer], padded: type[nn.Layer]) -> Callable:
    """The builder for one number of dimensions."""
    def build(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode="zeros"):
        pads = paddings(padding, kernel_size, dilation)
        if padding_mode == "zeros":
            return plain(in_channels, out_channels, kernel_size, stride, symmetric(pads), dilation, groups,
                         bias_attr=attr(bias))
        layer = padded(in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias_attr=attr(bias))
        layer.outside = [side for sides in reversed(pads) for side in sides]
        layer.outside_mode = padding_mode
        return layer

    return build


def conv_transpose(plain: type[nn.Layer]) -> Callable:
    """The builder for one number of dimensions."""
    def build(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, output_padding, bias):
        return plain(in_channels, out_channels, kernel_size, stride, padding, output_padding, groups=groups,
                     dilation=dilation, bias_attr=attr(bias))

    return build


leaf("Conv1d", args=ARGS)(conv(nn.Conv1D, PaddedConv1D))
leaf("Conv2d", args=ARGS)(conv(nn.Conv2D, PaddedConv2D))
leaf("Conv3d", args=ARGS)(conv(nn.Conv3D, PaddedConv3D))
leaf("ConvTranspose1d", args=TRANSPOSE_ARGS)(conv_transpose(nn.Conv1DTranspose))
leaf("ConvTranspose2d", args=TRANSPOSE_ARGS)(conv_transpose(nn.Conv2DTranspose))
leaf("ConvTranspose3d", args=TRANSPOSE_ARGS)(conv_transpose(nn.Conv3DTranspose))
