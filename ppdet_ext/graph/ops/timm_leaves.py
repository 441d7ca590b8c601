# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""timm.layers' and torchvision.ops' modules: the files by kind, and here pools, blur and layer scale."""
from __future__ import annotations

from math import comb
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from . import drop_leaves, response_leaves, timm_conv_leaves, timm_norm_leaves  # noqa: F401  they fill the table
from ._leaf_args import only
from ._leaf_tools import channels, constant, padded_same
from ._table import leaf
from ._values import Sizes, Tensor, per_axis


class AvgPool2dSame(nn.Layer):
    """Mean over windows padded with zeros as TensorFlow pads; the zeros count."""

    def __init__(self, kernel_size: Sizes, stride: Sizes) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = padded_same(x, self.kernel_size, self.stride)
        return F.avg_pool2d(x, self.kernel_size, self.stride, exclusive=False)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


@leaf("AvgPool2dSame", args=("kernel_size", "stride"))
def avg_pool2d_same(kernel_size: Sizes, stride: Sizes) -> nn.Layer:
    return AvgPool2dSame(per_axis(kernel_size, 2), per_axis(stride, 2))


@leaf("MaxPool2dSame", args=("kernel_size", "stride"))
def max_pool2d_same(kernel_size: Sizes, stride: Sizes) -> nn.Layer:
    return nn.MaxPool2D(kernel_size, stride, "SAME")


only("MaxPool2dSame", dilation=(1, [1, 1]), ceil_mode=(False,))
only("AvgPool2dSame", ceil_mode=(False,))


class BlurPool2d(nn.Layer):
    """A binomial filter, then every ``stride``-th value (arXiv:1904.11486). The filter is computed, not stored."""

    def __init__(self, filt_size: int, stride: Sizes, padding: Any, pad_mode: str) -> None:
        super().__init__()
        self.stride = stride
        self.padding = padding
        self.pad_mode: Any = pad_mode
        row = paddle.to_tensor([float(comb(filt_size - 1, k)) for k in range(filt_size)]) / 2 ** (filt_size - 1)
        self.register_buffer("filt", (row.unsqueeze(1) * row.unsqueeze(0)).unsqueeze([0, 1]), persistable=False)

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[1]
        x = F.pad(x, self.padding, mode=self.pad_mode)
        return F.conv2d(x, self.filt.astype(x.dtype).tile([count, 1, 1, 1]), stride=self.stride, groups=count)

    def extra_repr(self) -> str:
        return f"filt_size={self.filt.shape[-1]}, stride={self.stride}, pad_mode={self.pad_mode}"


@leaf("BlurPool2d", args=("filt_size", "stride", "padding", "pad_mode"))
def blur_pool2d(filt_size: int, stride: Sizes, padding: Sizes, pad_mode: str) -> nn.Layer:
    return BlurPool2d(filt_size, stride, padding, pad_mode)


class LayerScale(nn.Layer):
    """x * gamma, over the last axis, or over axis 1 with ``channels_first``."""

    def __init__(self, dim: int, init_values: float, channels_first: bool) -> None:
        super().__init__()
        self.gamma = constant(self, [dim], init_values)
        self.channels_first = channels_first

    def forward(self, x: Tensor) -> Tensor:
        return x * (channels(self.gamma, x.ndim) if self.channels_first else self.gamma)


@leaf("LayerScale", args=("gamma.shape", "init_values"))
def layer_scale(gamma_shape: Sizes, init_values: float = 1e-5) -> nn.Layer:
    return LayerScale(gamma_shape[0], init_values, False)


@leaf("LayerScale2d", args=("gamma.shape", "init_values"))
def layer_scale_2d(gamma_shape: Sizes, init_values: float = 1e-5) -> nn.Layer:
    return LayerScale(gamma_shape[0], init_values, True)
