# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Swin Transformer V2 (Liu et al. 2021, arXiv:2111.09883) as in timm.

Cosine attention, norms after the branches, position biases computed from the offsets. For image sizes and windows see
``swin.Swin``.
"""
from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from ..nn import attend_in_windows, constant_, linear
from .model_registry import register_model
from .swin import BASE, SMALL, TINY, Block, Swin, WindowAttention, neighbours

START_SCALE, MAX_SCALE = 10.0, 100.0  # of the cosines
HIDDEN = 512  # width of the perceptron that computes the biases
BIAS_RANGE = 16.0
# Padding has keys of zero, which have no direction: at torch's floor of 1e-12 their gradients would leave float16's
# range. Keys of pixels are far longer than either.
SHORTEST = 1e-6


class CosineAttention(WindowAttention):
    """Scaled cosines; the biases are what a small perceptron says of each offset's logarithm."""

    def __init__(self, dim: int, heads: int, window: int):
        super().__init__(dim, heads, window)
        start = nn.initializer.Constant(math.log(START_SCALE))
        self.logit_scale = self.create_parameter([heads, 1, 1], default_initializer=start)
        self.cpb_mlp = nn.Sequential(linear(2, HIDDEN), nn.ReLU(), linear(HIDDEN, heads, bias=False))
        self.register_buffer("relative_coords_table", paddle.to_tensor(log_offsets(window)), persistable=False)
        self.qkv = linear(dim, 3 * dim, bias=False)
        self.q_bias = self.create_parameter([dim], is_bias=True)
        self.v_bias = self.create_parameter([dim], is_bias=True)

    def project(self, x: paddle.Tensor) -> paddle.Tensor:
        bias = paddle.concat([self.q_bias, paddle.zeros_like(self.q_bias), self.v_bias])
        return F.linear(x, self.qkv.weight, bias)

    def logits(self, q: paddle.Tensor, k: paddle.Tensor) -> paddle.Tensor:
        q, k = (F.normalize(vector, axis=-1, epsilon=SHORTEST) for vector in (q, k))
        scale = self.logit_scale.clip(max=math.log(MAX_SCALE)).exp()
        return paddle.matmul(q, k, transpose_y=True) * scale

    def offset_biases(self) -> paddle.Tensor:
        # Paddle 2.6.2's inference ends the process where a linear layer's input comes from no operator
        offsets = self.relative_coords_table.reshape([-1, 2])
        return BIAS_RANGE * F.sigmoid(self.cpb_mlp(offsets))


def log_offsets(window: int) -> np.ndarray:
    """Row and column of all (2 * window - 1)^2 offsets, log-scaled, 1 for 7/8 of the window: timm's
    [1, 2 * window - 1, 2 * window - 1, 2] float32.
    """
    steps = np.arange(1 - window, window) * 8.0 / max(window - 1, 1)
    steps = np.sign(steps) * np.log2(np.abs(steps) + 1.0) / np.log2(8.0)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1)[None].astype("float32")


class BlockV2(Block):
    """LayerNorm after windowed attention and after the perceptron, inside their skips."""

    ATTENTION = CosineAttention

    def __init__(self, dim: int, heads: int, window: int, shift: int, drop_rate: float):
        super().__init__(dim, heads, window, shift, drop_rate)
        for norm in (self.norm1, self.norm2):  # branches start at zero
            constant_(norm.weight, 0.0)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x + self.drop_path1(self.norm1(attend_in_windows(self.attn, x, self.window, self.shift)))
        return x + self.drop_path2(self.norm2(self.mlp(x)))


class PatchMergingV2(nn.Layer):
    """[B, H, W, dim] -> [B, ceil(H/2), ceil(W/2), 2 * dim]: neighbours joined, reduced, normalised."""

    def __init__(self, dim: int):
        super().__init__()
        self.reduction = linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.norm(self.reduction(neighbours(x)))


class SwinV2(Swin):
    """Swin with V2's blocks; its parameters do not depend on the windows' size."""

    BLOCK = BlockV2
    MERGING = PatchMergingV2


VARIANTS: dict[str, dict[str, Any]] = {
    f"swinv2_{size}_window{window}_256": dict(variant, trained_size=256, window=window)
    for size, variant in (("tiny", TINY), ("small", SMALL), ("base", BASE)) for window in (8, 16)
}

for _name, _variant in VARIANTS.items():
    register_model(_name, family="swin")(functools.partial(SwinV2, **_variant))
