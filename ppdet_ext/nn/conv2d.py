# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Convolutions that pad and start as timm's do."""
from __future__ import annotations

import math
from typing import Literal

import paddle
from paddle import nn


def conv2d(in_chs: int, out_chs: int, kernel_size: int, stride: int = 1, groups: int = 1, bias: bool = False,
           same: bool = False, group_fan: bool = False) -> nn.Conv2D:
    """A convolution that keeps the size (times 1/stride), [B, in_chs, H, W] -> [B, out_chs, H/stride, W/stride].

    Padding is symmetric. With ``same`` it is TensorFlow's "same": the output has ceil(size / stride) rows and an odd
    row of padding goes to the end. Paddle's own padding mode of that name follows this rule at any size, in the kernel:
    no shape arithmetic in the graph and nothing read back from the device. At stride 1 both rules agree.

    The start is Kaiming normal over the outputs (He et al. 2015); with ``group_fan``, over those of one group, as in
    TensorFlow's EfficientNet. A bias starts at zero.
    """
    padding: Literal["SAME"] | int = "SAME" if same and stride > 1 else kernel_size // 2
    fan_out = kernel_size ** 2 * out_chs // (groups if group_fan else 1)
    start = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, math.sqrt(2.0 / fan_out)))
    bias_start = paddle.ParamAttr(initializer=nn.initializer.Constant(0.0)) if bias else False
    return nn.Conv2D(in_chs, out_chs, kernel_size, stride, padding, groups=groups, weight_attr=start,
                     bias_attr=bias_start)


def make_divisible(value: float, divisor: int = 8, round_limit: float = 0.9) -> int:
    """The multiple of ``divisor`` nearest to ``value``, never less than ``round_limit`` of it (MobileNet's rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded if rounded >= round_limit * value else rounded + divisor
