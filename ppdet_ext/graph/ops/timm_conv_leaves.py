# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""timm's convolutions: TensorFlow's padding, standardised weights, weights mixed for each sample."""
from __future__ import annotations

from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from ...kernels.transpose import transposed
from ._leaf_tools import attr, constant, padded_same
from ._table import leaf
from ._values import Sizes, Tensor

ARGS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias")


def same_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sizes, dilation: Sizes, groups: int) -> Tensor:
    """A convolution to ceil(size / stride). In the kernel where it can be: Paddle's SAME ignores a dilation."""
    if all(each == 1 for each in dilation):
        return F.conv2d(x, weight, bias, stride, "SAME", dilation, groups)
    x = padded_same(x, list(weight.shape)[2:], stride, dilation)
    return F.conv2d(x, weight, bias, stride, 0, dilation, groups)


class Conv2dSame(nn.Conv2D):
    """TensorFlow's "same" padding at any size."""

    def forward(self, x: Tensor) -> Tensor:
        return same_conv2d(x, self.weight, self.bias, self._stride, self._dilation, self._groups)


@leaf("Conv2dSame", args=ARGS)
def conv2d_same(in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes, padding: Sizes,
                dilation: Sizes, groups: int, bias: bool) -> nn.Layer:
    return Conv2dSame(in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias_attr=attr(bias))


class StdConv2d(nn.Conv2D):
    """A convolution whose kernels are standardised, each to mean 0 and deviation 1 (arXiv:1903.10520), then scaled.

    ``scale`` is None, or a number on top of a learnt ``gain`` [out_channels, 1, 1, 1] (arXiv:2101.08692).
    """

    def __init__(self, *args: Any, eps: float, same: bool = False, scale: float | None = None, gain_init: float = 1.0,
                 **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.eps = eps
        self.same = same
        self.scale = scale
        if scale is not None:
            self.gain = constant(self, [self.weight.shape[0], 1, 1, 1], gain_init)

    def kernel(self) -> Tensor:
        flat = self.weight.flatten(1)
        kernel = F.layer_norm(flat, flat.shape[1:], epsilon=self.eps).reshape(self.weight.shape)
        return kernel if self.scale is None else kernel * (self.gain * self.scale)

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            return same_conv2d(x, self.kernel(), self.bias, self._stride, self._dilation, self._groups)
        return F.conv2d(x, self.kernel(), self.bias, self._stride, self._padding, self._dilation, self._groups)


@leaf("StdConv2d", "StdConv2dSame", "ScaledStdConv2d", "ScaledStdConv2dSame",
      args=ARGS + ("eps", "same_pad", "scale", "gain_init"))
def std_conv2d(in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes, padding: Sizes,
               dilation: Sizes, groups: int, bias: bool, eps: float, same_pad: bool = False,
               scale: float | None = None, gain_init: float = 1.0) -> nn.Layer:
    return StdConv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias_attr=attr(bias),
                     eps=eps, same=same_pad, scale=scale, gain_init=gain_init)


class CondConv2d(nn.Layer):
    """Kernels mixed for each sample from ``experts`` ones (arXiv:1904.04971): ``forward(x, routing [B, experts])``.

    A convolution is linear in its kernel, so all experts are applied and their outputs mixed. (timm mixes kernels and
    runs B groups; a graph whose batch size is open cannot have a number of groups that follows it.)
    """

    def __init__(self, weight_shape: Sizes, experts: int, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
                 bias: bool, same: bool) -> None:
        super().__init__()
        self.weight_shape = weight_shape
        self.experts = experts
        self.stride, self.padding, self.dilation, self.groups, self.same = stride, padding, dilation, groups, same
        count = 1
        for size in weight_shape:
            count *= size
        self.weight = self.create_parameter([experts, count])
        self.bias = self.create_parameter([experts, weight_shape[0]], is_bias=True) if bias else None

    def forward(self, x: Tensor, routing: Tensor) -> Tensor:
        out, *rest = self.weight_shape
        kernels = self.weight.reshape([self.experts, self.groups, out // self.groups, *rest])
        kernels = transposed(kernels, [1, 0, 2, 3, 4, 5]).reshape([self.experts * out, *rest])
        if self.same:
            y = same_conv2d(x, kernels, None, self.stride, self.dilation, self.groups)
        else:
            y = F.conv2d(x, kernels, None, self.stride, self.padding, self.dilation, self.groups)
        places = paddle.shape(y)[2:]
        y = y.reshape([0, self.groups, self.experts, -1])
        y = (y * routing.unsqueeze([1, 3])).sum(2)
        y = y.reshape(paddle.concat([paddle.shape(x)[:1], paddle.to_tensor([out], places.dtype), places]))
        return y if self.bias is None else y + paddle.matmul(routing, self.bias).unsqueeze([2, 3])


@leaf("CondConv2d", args=("weight_shape", "num_experts", "stride", "padding", "dilation", "groups", "bias",
                          "dynamic_padding"))
def cond_conv2d(weight_shape: Sizes, num_experts: int, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
                bias: bool, dynamic_padding: bool) -> nn.Layer:
    return CondConv2d(weight_shape, num_experts, stride, padding, dilation, groups, bias, dynamic_padding)
