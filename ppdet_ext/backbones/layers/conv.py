# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Convolutions as timm pads them."""
from paddle import nn


def conv2d(in_chs, out_chs, kernel_size, stride=1, groups=1, same=False):
    """A bias-free convolution that keeps the size (times 1/stride), symmetrically padded or as TensorFlow pads.

    With ``same``, TensorFlow's rule: the output has ceil(size / stride) rows and an odd row of padding goes to the
    end. Paddle's own padding mode of that name follows the same rule at any size, in the kernel: no shape arithmetic
    in the graph and nothing read back from the device. At stride 1 with an odd kernel both rules agree.
    """
    padding = "SAME" if same and stride > 1 else kernel_size // 2
    return nn.Conv2D(in_chs, out_chs, kernel_size, stride, padding, groups=groups, bias_attr=False)


def make_divisible(value, divisor=8, round_limit=0.9):
    """The multiple of ``divisor`` nearest to ``value``, never less than ``round_limit`` of it (MobileNet's rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded if rounded >= round_limit * value else rounded + divisor
