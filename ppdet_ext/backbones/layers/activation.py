# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Activations that survive export."""
import paddle
from paddle import nn
from paddle.nn import functional as F


class LeakyReLU(nn.Layer):
    """max(x, slope * x), 0 < slope < 1.

    In a static graph it is written out just so: Paddle 3.3.1's oneDNN pass that fuses a convolution with leaky_relu
    ends the process (it reads the slope, a double there, as a float).
    """

    def __init__(self, slope=0.01):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        if paddle.in_dynamic_mode():
            return F.leaky_relu(x, self.slope)
        return paddle.maximum(x, x * self.slope)
