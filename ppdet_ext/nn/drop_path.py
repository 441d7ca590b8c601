# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Stochastic depth (Huang et al. 2016, arXiv:1603.09382)."""
import paddle
from paddle import nn


class DropPath(nn.Layer):
    """While training, zero a residual branch with probability ``rate``, sample by sample, and scale the others up.

    Args:
        rate: the probability; 0 lets everything pass.
        scale_by_keep: divide what stays by 1 - rate, so that the mean stays.
        per_sample: each sample of a batch has a draw of its own; else one draw for the whole batch.
    """

    def __init__(self, rate: float = 0.0, scale_by_keep: bool = True, per_sample: bool = True):
        super().__init__()
        self.rate = rate
        self.scale_by_keep = scale_by_keep
        self.per_sample = per_sample

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, ...] -> the same shape."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        draws = self._batch(x) if self.per_sample else 1
        kept = paddle.rand([draws] + [1] * (x.ndim - 1), dtype="float32") + keep
        kept = paddle.floor(kept).astype(x.dtype)
        return x * kept / keep if self.scale_by_keep and keep else x * kept

    def _batch(self, x):
        return x.shape[0] if paddle.in_dynamic_mode() else paddle.shape(x)[0]

    def extra_repr(self) -> str:
        """What print shows."""
        return f"rate={self.rate:.3f}"


def drop_path(rate: float) -> nn.Layer:
    """The layer for ``rate``; nothing to pass through when it is zero."""
    return DropPath(rate) if rate else nn.Identity()
