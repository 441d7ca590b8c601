# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""timm's and torchvision's ways to drop while training: paths, blocks, patches. ``rate`` is the probability."""
from __future__ import annotations

from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from ...nn import DropPath
from ._table import leaf
from ._values import DType, Sizes, Tensor


def bernoulli(shape: Sizes, probability: float, dtype: DType) -> Tensor:
    """Ones with ``probability``, else zeros."""
    return (paddle.rand(shape, dtype="float32") < probability).astype(dtype)


class Drop(nn.Layer):
    """Nothing but in training; then ``dropped(x)``."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return self.dropped(x) if self.training and self.rate else x

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


@leaf("DropPath", args=("drop_prob", "scale_by_keep"), view=True)
def drop_path(drop_prob: float, scale_by_keep: bool = True) -> nn.Layer:
    return DropPath(drop_prob or 0.0, scale_by_keep)


@leaf("StochasticDepth", args=("p", "mode"), view=True)
def stochastic_depth(p: Any, mode: str) -> nn.Layer:
    return DropPath(p, per_sample=mode == "row")


class DropBlock2d(Drop):
    """Zero square blocks of the map (arXiv:1810.12890) and scale the rest up.

    Args:
        inside: block centres only where a block fits (torchvision); else anywhere (timm).
        couple_channels: the same blocks in all channels.
        with_noise: normal noise in the blocks, and no scaling.
    """

    def __init__(self, rate: float, block_size: Sizes, gamma_scale: float = 1.0, with_noise: bool = False,
                 couple_channels: bool = False, scale_by_keep: bool = True,
                 inside: bool = False) -> None:
        super().__init__(rate)
        self.block_size = block_size
        self.gamma_scale = gamma_scale
        self.with_noise = with_noise
        self.couple_channels = couple_channels
        self.scale_by_keep = scale_by_keep
        self.inside = inside

    def dropped(self, x: Tensor) -> Tensor:
        blocks = self._blocks(x).detach()
        kept = 1.0 - blocks
        if self.with_noise:
            return x * kept + paddle.randn(kept.shape, x.dtype) * blocks
        return x * kept / kept.mean().clip(min=1e-7) if self.scale_by_keep else x * kept

    def _blocks(self, x):
        """1 inside blocks, else 0."""
        batch, count, *place = x.shape
        block = [min(self.block_size, each) for each in place]
        fits = [each - one + 1 for each, one in zip(place, block)]
        rate = self.gamma_scale * self.rate * place[0] * place[1] / (block[0] * block[1] * fits[0] * fits[1])
        centres = bernoulli([batch, 1 if self.couple_channels else count] + (fits if self.inside else place), rate,
                            x.dtype)
        (top, left), (bottom, right) = [one // 2 for one in block], [one - 1 - one // 2 for one in block]
        if self.inside:
            top, bottom, left, right = block[0] - 1, block[0] - 1, block[1] - 1, block[1] - 1
        return F.max_pool2d(F.pad(centres, [left, right, top, bottom]), block, 1)


@leaf("DropBlock2d", args=("drop_prob", "block_size", "gamma_scale", "with_noise", "couple_channels", "scale_by_keep",
                           "p"), view=True)
def drop_block_2d(block_size: Sizes, p: Any = None, drop_prob: float | None = None, **settings: Any) -> nn.Layer:
    if p is None:
        return DropBlock2d(drop_prob or 0.0, block_size, **settings)
    return DropBlock2d(p, block_size, inside=True)


class PatchDropout(Drop):
    """Keep a random (1 - rate) of the tokens [B, L, D], never dropping the first ``prefix`` (arXiv:2212.00794)."""

    def __init__(self, rate: float, prefix: int, ordered: bool) -> None:
        super().__init__(rate)
        self.prefix = prefix
        self.ordered = ordered

    def dropped(self, x: Tensor) -> Tensor:
        prefix, patches = x[:, :self.prefix], x[:, self.prefix:]
        batch, length = patches.shape[:2]
        keep = max(1, int(length * (1.0 - self.rate)))
        kept = paddle.argsort(paddle.rand([batch, length]), -1)[:, :keep]
        kept = paddle.sort(kept, -1) if self.ordered else kept
        patches = paddle.take_along_axis(patches, kept.unsqueeze(-1).expand([-1, -1, x.shape[2]]), 1)
        return paddle.concat([prefix, patches], 1) if self.prefix else patches


@leaf("PatchDropout", args=("prob", "num_prefix_tokens", "ordered"), view=True)
def patch_dropout(prob: float, num_prefix_tokens: int, ordered: bool) -> nn.Layer:
    return PatchDropout(prob, num_prefix_tokens, ordered)
