# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Interpolation and sampling."""
from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ...kernels.transpose import transposed
from ...nn.interpolation import interpolation_matrix
from . import _values
from ._table import op
from ._values import Sizes, Tensor, any_tensor, cast, is_tensor, known, per_axis
from .arithmetic import truediv
from .shape import to_shape

_FORMATS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


def _target(x, size, scale_factor):
    """The sizes wanted: given, or floor(size * scale)."""
    dims = x.ndim - 2
    if size is not None:
        return per_axis(size, dims)
    return [_scaled(_values.size(x, i + 2), scale) for i, scale in enumerate(per_axis(scale_factor, dims))]


def _scaled(size, scale):
    if float(scale).is_integer():
        return size * int(scale)
    if is_tensor(size):
        return paddle.floor(cast(size, "float32") * scale).astype("int64")
    return math.floor(size * scale)


def _whole_factors(x, size, scale_factor):
    """[2, 2] where every size grows by a whole number, else None."""
    dims = x.ndim - 2
    if size is None:
        factors = per_axis(scale_factor, dims)
        return [int(f) for f in factors] if all(float(f).is_integer() and f >= 1 for f in factors) else None
    before, after = list(x.shape)[2:], per_axis(size, dims)
    if any_tensor(*after) or -1 in before or any(b % a for a, b in zip(before, after)):
        return None
    return [b // a for a, b in zip(before, after)]


def _repeated(x, factors):
    """Nearest by whole numbers. F.interpolate with a scale stores doubles that oneDNN and paddle2onnx refuse."""
    shape = _values.sizes(x)
    apart, tiles, after = shape[:2], [1, 1], shape[:2]
    for size, factor in zip(shape[2:], factors):
        apart, tiles, after = [*apart, size, 1], [*tiles, 1, factor], [*after, size * factor]
    return to_shape(paddle.tile(to_shape(x, apart), tiles), after)


def _nearest_exact(x, target):
    """The pixel whose centre is nearest; Paddle has only the one whose corner is."""
    for dim, wanted in enumerate(target, 2):
        size = _values.size(x, dim)
        step = truediv(size, wanted)
        index = paddle.floor((paddle.arange(wanted).astype("float32") + 0.5) * step).astype("int64")
        x = paddle.index_select(x, paddle.minimum(index, paddle.full_like(index, 1) * (size - 1)), dim)
    return x


@functools.lru_cache(maxsize=256)
def _antialias_matrix(size, wanted, mode, align_corners):
    return interpolation_matrix(size, wanted, mode, antialias=True, align_corners=align_corners).astype(np.float32)


def _antialiased(x, target, mode, align_corners):
    """Two matrix products: rows, then columns."""
    sizes = known([_values.size(x, 2), _values.size(x, 3), *target], "the antialiased resize")
    rows, columns = (paddle.to_tensor(_antialias_matrix(sizes[i], sizes[i + 2], mode, bool(align_corners)))
                     for i in (0, 1))
    return paddle.matmul(paddle.matmul(cast(rows, _values.dtype_of(x)), x), cast(columns, _values.dtype_of(x)),
                         transpose_y=True)


@op("torch.nn.functional.interpolate", "torch.nn.functional.upsample")
def interpolate(x: Tensor, size: Sizes | None = None, scale_factor: Any = None, mode: Any = "nearest",
                align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False) -> Tensor:
    """A scale becomes a size; only where size * scale is not whole do the two differ, as torch then keeps the scale."""
    target = _target(x, size, scale_factor)
    if antialias:
        return _antialiased(x, target, mode, align_corners)
    if mode == "area":
        return _area(x, target)
    if mode == "nearest-exact":
        return _nearest_exact(x, target)
    factors = _whole_factors(x, size, scale_factor) if mode == "nearest" and x.ndim < 5 else None
    if factors:
        return _repeated(x, factors)
    if mode == "nearest" and x.ndim == 3:  # Paddle's takes four dimensions or five
        return paddle.squeeze(F.interpolate(paddle.unsqueeze(x, 2), size=[1, *target], mode=mode), 2)
    settings: dict[str, Any] = {"mode": mode, "align_corners": bool(align_corners), "data_format": _FORMATS[x.ndim - 2]}
    if size is None and not recompute_scale_factor and not _whole(x, scale_factor):
        return F.interpolate(x, scale_factor=per_axis(scale_factor, x.ndim - 2), **settings)
    # Paddle 2.6 reads open sizes as int32
    return F.interpolate(x, size=[cast(item, "int32") if is_tensor(item) else item for item in target], **settings)


def _whole(x, scale_factor):
    """Every size times its scale is a whole number, as far as it is known."""
    factors = per_axis(scale_factor, x.ndim - 2)
    return all(float(f).is_integer() or (s >= 0 and (s * f).is_integer()) for s, f in zip(list(x.shape)[2:], factors))


def _area(x, target):
    pool = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[len(target)]
    return pool(x, target if len(target) > 1 else target[0])


@op("torch.nn.functional.grid_sample")
def grid_sample(x: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: Any = "zeros",
                align_corners: bool | None = None) -> Tensor:
    """align_corners is False unless given; Paddle's default is True."""
    return F.grid_sample(x, grid, mode, padding_mode, bool(align_corners))


@op("torch.nn.functional.affine_grid")
def affine_grid(theta: Tensor, size: Sizes, align_corners: bool | None = None) -> Tensor:
    return F.affine_grid(theta, list(size), bool(align_corners))


# -- timm's own resizes, kept whole: they look at the sizes ------------------------------------------------------------

def resize_channels_last(x: Tensor, size: Sizes, **settings: Any) -> Tensor:
    """[1, H, W, C] -> [1, *size, C]."""
    out = interpolate(transposed(x, [0, 3, 1, 2]), list(size), **settings)
    return transposed(out, [0, 2, 3, 1])


@op("timm.layers.pos_embed.resample_abs_pos_embed", view=True)
def resample_abs_pos_embed(posemb: Tensor, new_size: Sizes, old_size: Sizes | None = None, num_prefix_tokens: int = 1,
                           interpolation: str = "bicubic",
                           antialias: bool = True, verbose: bool = False, align_corners: bool | None = None) -> Tensor:
    """[1, prefix + H*W, C] for another H, W."""
    new_size = list(known(new_size, "the position embedding"))
    tokens = posemb.shape[1] - num_prefix_tokens
    old_size = list(old_size or [int(math.sqrt(tokens))] * 2)
    if old_size == new_size:
        return posemb
    grid = to_shape(posemb[:, num_prefix_tokens:], [1, *old_size, posemb.shape[-1]])
    grid = resize_channels_last(grid, new_size, mode=interpolation, antialias=antialias, align_corners=align_corners)
    grid = to_shape(grid, [1, -1, posemb.shape[-1]])
    return paddle.concat([posemb[:, :num_prefix_tokens], grid], 1) if num_prefix_tokens else grid


@op("timm.layers.pos_embed.resample_abs_pos_embed_nhwc", view=True)
def resample_abs_pos_embed_nhwc(posemb: Tensor, new_size: Sizes, interpolation: str = "bicubic",
                                antialias: bool = True, verbose: bool = False) -> Tensor:
    """[..., H, W, C] -> [1, *new_size, C]."""
    new_size = list(known(new_size, "the position embedding"))
    if list(posemb.shape)[-3:-1] == new_size:
        return posemb
    grid = to_shape(posemb, [1, *list(posemb.shape)[-3:]])
    return resize_channels_last(grid, new_size, mode=interpolation, antialias=antialias)


@op("timm.models.qwen3_vit.resample_pos_embed_grid", view=True)
def resample_pos_embed_grid(pos_embed: Tensor, grid_size: Any, new_size: Sizes) -> Tensor:
    new_size, channels = list(known(new_size, "the position embedding")), pos_embed.shape[-1]
    if new_size == [grid_size, grid_size]:
        return pos_embed
    grid = to_shape(pos_embed, [1, grid_size, grid_size, channels])
    return to_shape(resize_channels_last(grid, new_size, mode="bilinear", align_corners=True), [1, -1, channels])


@op("timm.models.crossvit.scale_image", view=True)
def scale_image(x: Tensor, ss: Sizes, crop_scale: bool = False) -> Tensor:
    """The image cut or resized to the size a branch wants."""
    height, width = known([_values.size(x, 2), _values.size(x, 3)], "the second branch's image")
    if [height, width] == list(ss):
        return x
    if crop_scale and ss[0] <= height and ss[1] <= width:
        top, left = round((height - ss[0]) / 2), round((width - ss[1]) / 2)
        return x[:, :, top:top + ss[0], left:left + ss[1]]
    return interpolate(x, list(ss), mode="bicubic")


@op("timm.models.vision_transformer_sam.get_rel_pos")
def get_rel_pos(q_size: Any, k_size: Any, rel_pos: Tensor) -> Tensor:
    """[L, C] -> [q_size, k_size, C]: the table resized to the sizes' distances, then looked up."""
    q_size, k_size = known([q_size, k_size], "the relative position table")
    distances = 2 * max(q_size, k_size) - 1
    if rel_pos.shape[0] != distances:
        table = interpolate(paddle.unsqueeze(transposed(rel_pos, [1, 0]), 0), [distances], mode="linear")
        rel_pos = transposed(paddle.squeeze(table, 0), [1, 0])
    queries = np.arange(q_size, dtype=np.float32)[:, None] * max(k_size / q_size, 1.0)
    keys = np.arange(k_size, dtype=np.float32)[None, :] * max(q_size / k_size, 1.0)
    index = (queries - keys + (k_size - 1) * max(q_size / k_size, 1.0)).astype(np.int64)
    rows = paddle.gather(rel_pos, paddle.to_tensor(index.reshape(-1)))
    return to_shape(rows, [q_size, k_size, rel_pos.shape[-1]])
