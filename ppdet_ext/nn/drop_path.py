# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Stochastic depth (Huang et al. 2016, arXiv:1603.09382), per sample."""
import paddle
from paddle import nn


class DropPath(nn.Layer):
    """While training, zero a residual branch for each sample with probability ``rate`` and scale the others up."""

    def __init__(self, rate=0.0):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        batch = x.shape[0] if paddle.in_dynamic_mode() else paddle.shape(x)[0]
        kept = paddle.floor(paddle.rand([batch, 1, 1, 1], dtype="float32") + keep).astype(x.dtype)
        return x * kept / keep

    def extra_repr(self):
        return f"rate={self.rate:.3f}"


def drop_path(rate):
    """The layer for ``rate``; nothing to pass through when it is zero."""
    return DropPath(rate) if rate else nn.Identity()
