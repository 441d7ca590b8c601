# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Parameters resized for another image size as timm and torchvision resize them.

All in numpy, in float64; results have the input's dtype.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional

import numpy as np

from ..nn.interpolation import geometric_matrix, interpolation_matrix

EXTRA_TOKENS = range(17)  # class, distillation and register tokens that may precede the grid
EXTRA_BIASES = (0, 3)  # BEiT's three rows for the class token, after the grid
Shape = tuple[int, ...]
Size = Optional[tuple[int, int]]  # (h, w)


class Interpolation(NamedTuple):
    """The arguments of torch's F.interpolate."""
    mode: str = "bicubic"
    antialias: bool = True
    align_corners: bool = False

    def matrix(self, n_in: int, n_out: int) -> np.ndarray:
        """See ``interpolation_matrix``."""
        return interpolation_matrix(n_in, n_out, self.mode, self.antialias, align_corners=self.align_corners)


SMOOTH = Interpolation()
PLAIN = Interpolation(antialias=False)
LINEAR = Interpolation("linear", antialias=False)
CORNERS = Interpolation(antialias=False, align_corners=True)
BY_ARCH = {"flexivit": Interpolation("bilinear", antialias=False)}  # start of the name -> in place of SMOOTH


# --- arrays ----------------------------------------------------------------------------------------------------------

def resize_grid(array: np.ndarray, size: Sequence[int],
                matrix: Callable[[int, int], np.ndarray] = SMOOTH.matrix) -> np.ndarray:
    """[..., H, W] -> [..., *size]; ``matrix(n_in, n_out)`` says how each axis is interpolated."""
    rows, columns = (matrix(old, new) for old, new in zip(array.shape[-2:], size))
    return (rows @ array.astype(np.float64) @ columns.T).astype(array.dtype)


def resize_rows(array: np.ndarray, old_size: Sequence[int], size: Sequence[int],
                matrix: Callable[[int, int], np.ndarray] = SMOOTH.matrix) -> np.ndarray:
    """[..., h * w, C], row-major over ``old_size``, to ``size``."""
    *lead, _, channels = array.shape
    maps = np.moveaxis(array.reshape(*lead, *old_size, channels), -1, -3)
    return np.moveaxis(resize_grid(maps, size, matrix), -3, -1).reshape(*lead, -1, channels)


def _square(count):
    side = math.isqrt(count) if count > 0 else 0
    return (side, side) if side and side * side == count else None


def _odd_square(count):
    size = _square(count)
    return size if size and size[0] % 2 else None


def _split(old, new, extras, new_size, as_square):
    """(number of extra rows, old (h, w), new (h, w)) that explain the row counts ``old`` and ``new``, or None."""
    for extra in extras:
        before, after = as_square(old - extra), new_size or as_square(new - extra)
        if before and after and math.prod(after) == new - extra:
            return extra, before, after
    return None


# --- rules: (array, wanted shape, grid (h, w) or None, Interpolation) -> array, or None where the shapes do not fit ---

def absolute(array: np.ndarray, wanted: Shape, grid: Size, how: Interpolation) -> np.ndarray | None:
    """Absolute position embeddings in any of timm's layouts; the grid of the checkpoint is taken to be square."""
    if array.ndim == 4:
        return _absolute_map(array, wanted, how)
    split = _split(array.shape[-2], wanted[-2], EXTRA_TOKENS, grid, _square)
    if array.ndim not in (2, 3) or split is None:
        return None
    extra, old_size, size = split
    resized = resize_rows(array[..., extra:, :], old_size, size, how.matrix)
    return np.concatenate([array[..., :extra, :], resized], axis=-2)


def _absolute_map(array, wanted, how):
    if array.shape[:2] == wanted[:2] and array.shape[3] != wanted[3]:
        return resize_grid(array, wanted[2:], how.matrix)
    if array.shape[1] != array.shape[2] and _square(array.shape[1]):
        return _absolute_blocks(array, wanted)
    maps = np.moveaxis(array, 3, 1)
    return np.moveaxis(resize_grid(maps, wanted[1:3], how.matrix), 1, 3)


def _absolute_blocks(array, wanted):
    """NesT's [1, blocks, positions in a block, C], both square; as timm.models.nest.resize_pos_embed."""
    old_blocks, old_side, blocks, side = (_square(n) for n in (*array.shape[1:3], *wanted[1:3]))
    if None in (old_blocks, old_side, blocks, side):
        return None
    channels = array.shape[-1]
    whole = array.reshape(*old_blocks, *old_side, channels).transpose(4, 0, 2, 1, 3)
    whole = whole.reshape(channels, old_blocks[0] * old_side[0], -1)
    whole = resize_grid(whole, (blocks[0] * side[0],) * 2, PLAIN.matrix)
    parts = whole.reshape(channels, blocks[0], side[0], blocks[1], side[1]).transpose(1, 3, 2, 4, 0)
    return parts.reshape(wanted)


def absolute_torchvision(array: np.ndarray, wanted: Shape, grid: Size, how: Interpolation) -> np.ndarray | None:
    """As torchvision.models.vision_transformer.interpolate_embeddings."""
    return absolute(array, wanted, grid, CORNERS)


def bias_table(array: np.ndarray, wanted: Shape, grid: Size, how: Interpolation) -> np.ndarray | None:
    """Relative position biases [(2h-1)(2w-1) (+3), heads] or [heads, 2h-1, 2w-1]; ``grid`` is the window (h, w)."""
    if array.ndim == 3:
        return resize_grid(array, wanted[1:], geometric_matrix)
    spans = grid and tuple(2 * side - 1 for side in grid)
    split = _split(len(array), wanted[0], EXTRA_BIASES, spans, _odd_square)
    if split is None:
        return None
    extra, old_size, size = split
    rows = len(array) - extra
    return np.concatenate([resize_rows(array[:rows], old_size, size, geometric_matrix), array[rows:]])


def attention_biases(array: np.ndarray, wanted: Shape, grid: Size, how: Interpolation) -> np.ndarray | None:
    """TinyViT's, LeViT's and EfficientViT's [heads, h * w]; as timm.layers.resize_rel_pos_bias_table_levit."""
    split = _split(array.shape[1], wanted[1], (0,), grid, _square)
    if split is None:
        return None
    _, old_size, size = split
    return np.ascontiguousarray(resize_rows(array.T, old_size, size, SMOOTH.matrix).T)


def distances(array: np.ndarray, wanted: Shape, grid: Size, how: Interpolation) -> np.ndarray | None:
    """Decomposed relative positions [2k-1, C]; as timm.models.mvitv2.checkpoint_filter_fn, and SAM while it runs."""
    return (LINEAR.matrix(len(array), wanted[0]) @ array.astype(np.float64)).astype(array.dtype)


def patch_kernel(array: np.ndarray, wanted: Shape, grid: Size, how: Interpolation) -> np.ndarray | None:
    """Kernel [out, in, p, p] of a patch embedding, so that it gives on resized patches what it gave before.

    Source: FlexiViT, https://arxiv.org/abs/2212.08013; as timm.layers.resample_patch_embed.
    """
    if array.ndim != 4:
        return None
    return resize_grid(array, wanted[2:], lambda old, new: np.linalg.pinv(how.matrix(old, new)).T)


class Rule(NamedTuple):
    resize: Callable[[np.ndarray, Shape, Size, Interpolation], np.ndarray | None]
    ndims: tuple[int, ...]  # numbers of dimensions the parameter may have
    kept: tuple[int, ...] = ()  # axes of equal length before and after


# last parts of a parameter's name -> Rule. Where timm resizes nothing itself (PiT, VOLO, CaiT), position embeddings
# are resized as its plain transformers' are.
RULES = {
    "patch_embed.proj.weight": Rule(patch_kernel, (4,), kept=(0, 1)),
    "relative_position_bias_table": Rule(bias_table, (2, 3)),
    "attention_biases": Rule(attention_biases, (2,), kept=(0,)),
    "rel_pos_h": Rule(distances, (2,), kept=(1,)),
    "rel_pos_w": Rule(distances, (2,), kept=(1,)),
    "pos_embed": Rule(absolute, (2, 3, 4)),
    "patch_pos": Rule(absolute, (3,), kept=(0, 2)),
    "pos_embedding": Rule(absolute_torchvision, (3,), kept=(0, 2)),
}


def resize_to(name: str, array: np.ndarray, wanted_shape: Sequence[int], grid: Sequence[int] | None = None,
              arch: str = "") -> np.ndarray | None:
    """A checkpoint's parameter in the shape that a network built for another image size wants.

    Args:
        name: the parameter's name as in timm or torchvision; its end chooses the rule.
        grid: (h, w) of the wanted position grid (the window, for relative biases); None where it is square.
        arch: timm's name; some were trained with another interpolation (FlexiViT).

    Returns:
        array of ``wanted_shape``; the array itself where it has that shape; None where no rule explains the two shapes.
    """
    wanted = tuple(int(size) for size in wanted_shape)
    if array.shape == wanted:
        return array
    rule = next((rule for end, rule in RULES.items() if f".{name}".endswith(f".{end}")), None)
    if rule is None or array.ndim not in rule.ndims or len(wanted) != array.ndim:
        return None
    if any(array.shape[axis] != wanted[axis] for axis in rule.kept):
        return None
    how = next((how for start, how in BY_ARCH.items() if arch.startswith(start)), SMOOTH)
    resized = rule.resize(array, wanted, (grid[0], grid[1]) if grid else None, how)
    return resized if resized is not None and resized.shape == wanted else None
