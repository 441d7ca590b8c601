# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""timm's rotary position helpers that torch.fx keeps whole, and its helpers for attention masks."""
from __future__ import annotations

from typing import Any

import paddle

from ._table import op
from ._values import DType, Sizes, Tensor, cast, dtype_of, is_tensor
from .compare import masked_fill
from .create import arange, linspace, meshgrid
from .scalars import max_number, min_number
from .shape import to_shape


def _swapped(seq):
    return seq if len(seq) < 2 else [seq[1], seq[0], *seq[2:]]


def _positions(grid_type, shape, grid_offset, normalize_coords):
    """Coordinates along each axis."""
    if grid_type == "pixel":
        return [linspace(-1.0, 1.0, s) for s in shape]
    index = [arange(s, dtype="float32") for s in shape]
    if grid_type == "index":
        return [x + grid_offset for x in index]
    whole = {"max": max_number, "min": min_number}.get(normalize_coords)
    return [(x + 0.5 + grid_offset) / _number(whole(*shape) if whole else s) for x, s in zip(index, shape)]


def _number(value):
    return cast(value, "float32") if is_tensor(value) else float(value)


@op("timm.layers.pos_embed_sincos._build_grid", creates=True)
def build_grid(feat_shape: Sizes, grid_type: str = "index", ref_feat_shape: Sizes | None = None,
               grid_offset: float = 0.0, grid_indexing: str = "ij",
               normalize_coords: str = "separate", device: Any = None, dtype: DType = "float32",
               ndim: int | None = None) -> Tensor:
    """Coordinates [*feat_shape, axes] over which sin-cos and rotary embeddings are computed; sizes may be open."""
    swap = _swapped if grid_indexing == "xy" else list
    shape = swap(list(feat_shape))
    axes = _positions(grid_type, shape, grid_offset, normalize_coords)
    if ref_feat_shape is not None:
        axes = [x / _number(size) * _number(ref) for x, size, ref in zip(axes, shape, swap(list(ref_feat_shape)))]
    grid = cast(paddle.stack(meshgrid(axes, indexing=grid_indexing), -1), dtype)
    return 2.0 * grid - 1.0 if grid_type == "centered" else grid


@op("timm.layers.pos_embed_sincos.get_mixed_grid", creates=True)
def get_mixed_grid(shape: Sizes, grid_indexing: str = "ij", device: Any = None,
                   dtype: DType = "float32") -> tuple[Tensor, Tensor]:
    grid = cast(to_shape(build_grid(shape, grid_indexing=grid_indexing), [-1, 2]), dtype)
    return grid[:, 0], grid[:, 1]


@op("timm.layers.pos_embed_sincos.make_coords_dinov3", creates=True)
def make_coords_dinov3(height: Any, width: Any, normalize_coords: str = "separate", grid_indexing: str = "ij",
                       grid_offset: float = 0.0, device: Any = None,
                       dtype: DType = "float32") -> Tensor:
    grid = build_grid([height, width], "centered", None, grid_offset, grid_indexing, normalize_coords, dtype=dtype)
    return paddle.flatten(grid, 0, 1)


@op("timm.layers.pos_embed_sincos._apply_coord_augs", view=True, random=True)
def apply_coord_augs(coords: Tensor, shift_coords: float | None = None, jitter_coords: float | None = None,
                     rescale_coords: float | None = None, training: bool = True) -> Tensor:
    """Random shift, stretch and scale of the coordinates (DINOv3's and Sapiens2's training; nothing in eval)."""
    if not training:
        return coords

    def draw(count, low, high):
        return paddle.uniform([count], dtype_of(coords), low, high)

    if shift_coords is not None:
        coords = coords + draw(coords.shape[-1], -float(shift_coords), float(shift_coords))
    for factor, count in ((jitter_coords, coords.shape[-1]), (rescale_coords, 1)):
        if factor is not None:
            coords = coords * float(factor) ** draw(count, -1.0, 1.0)
    return coords


@op("timm.layers.pos_embed_sincos._freq_buffer_dtype")
def freq_buffer_dtype(dtype: DType) -> str:
    return "float32" if dtype in (None, "float16", "bfloat16") else dtype


@op("timm.layers.attention.maybe_add_mask", view=True)
def maybe_add_mask(scores: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    return scores if attn_mask is None else scores + attn_mask


@op("timm.layers.attention.resolve_self_attn_mask", view=True)
def resolve_self_attn_mask(seq_len: Any, attn: Tensor, attn_mask: Tensor | None = None,
                           is_causal: bool = False) -> Tensor | None:
    if is_causal:
        return paddle.triu(paddle.full([seq_len, seq_len], float("-inf"), dtype_of(attn)), 1)
    if attn_mask is None or dtype_of(attn_mask) != "bool":
        return attn_mask
    return masked_fill(paddle.zeros_like(attn_mask, dtype_of(attn)), paddle.logical_not(attn_mask), float("-inf"))
