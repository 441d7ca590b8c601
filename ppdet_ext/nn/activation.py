# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Activations that survive export, and are fast after it."""
import paddle
from paddle import nn
from paddle.nn import functional as F


def silu(x: paddle.Tensor) -> paddle.Tensor:
    """x * sigmoid(x), of any shape.

    In a static graph as swish, the same: that one Paddle's oneDNN passes fuse into convolutions.
    """
    return F.silu(x) if paddle.in_dynamic_mode() else F.swish(x)


class SiLU(nn.Silu):
    """See ``silu``."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Any shape -> the same shape."""
        return silu(x)


class LeakyReLU(nn.Layer):
    """max(x, slope * x), 0 < slope < 1.

    In a static graph it is written out just so: Paddle 3.3.1's oneDNN pass that fuses a convolution with leaky_relu
    ends the process (it reads the slope, a double there, as a float).
    """

    def __init__(self, slope: float = 0.01):
        super().__init__()
        self.slope = slope

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Any shape -> the same shape."""
        if paddle.in_dynamic_mode() or not 0 <= self.slope <= 1:
            return F.leaky_relu(x, self.slope)
        return paddle.maximum(x, x * self.slope)
