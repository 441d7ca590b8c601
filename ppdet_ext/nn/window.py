# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Attention in windows of a map [B, H, W, C] of any size (Swin, arXiv:2103.14030), in dynamic and static graphs."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle
from paddle.nn import functional as F

from ..kernels.transpose import transposed

#: height and width: ints, or 0-D tensors where a static graph leaves them open
Size = tuple[Any, Any]
MASKED = -100.0  # Swin's own; small enough for softmax and in the range of float16


def map_size(x: paddle.Tensor, axes: Sequence[int] = (1, 2)) -> Size:
    """(H, W) of a map [B, H, W, C], or of one that has them at other ``axes``."""
    height, width = (x.shape[axis] if isinstance(x.shape[axis], int) and x.shape[axis] >= 0 else paddle.shape(x)[axis]
                     for axis in axes)
    return height, width


def pad_image(x: paddle.Tensor, divisor: int) -> paddle.Tensor:
    """[B, C, H, W] with zeros at the bottom and on the right until H and W are multiples of ``divisor``."""
    rows, cols = (_missing(size, divisor) for size in map_size(x, (2, 3)))
    return _pad(x, rows, cols)


def pad_map(x: paddle.Tensor, divisor: int) -> paddle.Tensor:
    """As ``pad_image`` for [B, H, W, C]. Each row is seen as W * C pixels: oneDNN's kernel ends where C comes last."""
    height, width = map_size(x)
    rows, cols = (_missing(size, divisor) for size in (height, width))
    channels = x.shape[3]
    x = _pad(x.reshape([0, 1, height, width * channels]), rows, cols * channels)
    return x.reshape([0, height + rows, width + cols, channels])


def _missing(size, divisor):
    return (divisor - size % divisor) % divisor


def _pad(x, rows, cols):
    if isinstance(rows, int) and isinstance(cols, int):
        return F.pad(x, [0, cols, 0, rows]) if rows or cols else x
    pads = [paddle.full([], pad, "int32") if isinstance(pad, int) else pad.astype("int32")
            for pad in (0, cols, 0, rows)]
    return F.pad(x, paddle.stack(pads))


def split_windows(x: paddle.Tensor, window: int) -> paddle.Tensor:
    """[B, H, W, C] -> [B, H/window * W/window, window * window, C]; H and W are multiples of ``window``."""
    height, width = map_size(x)
    x = x.reshape([0, height // window, window, width // window, window, x.shape[3]])
    return transposed(x, [0, 1, 3, 2, 4, 5]).reshape([0, -1, window * window, x.shape[5]])


def join_windows(windows: paddle.Tensor, window: int, size: Size) -> paddle.Tensor:
    """The inverse of ``split_windows``, for a map of ``size`` (H, W)."""
    height, width = size
    channels = windows.shape[3]
    x = windows.reshape([0, height // window, width // window, window, window, channels])
    return transposed(x, [0, 1, 3, 2, 4, 5]).reshape([0, height, width, channels])


def shift_mask(size: Size, window: int, shift: int) -> paddle.Tensor:
    """What attention adds in a map of ``size`` (H, W), padded and rolled by -``shift``: [windows, 1, N, N].

    The last row and column of windows hold pixels of opposite borders, which must not see each other.
    """
    rows, cols = (_regions(length, window, shift) for length in size)
    regions = split_windows((3 * rows.unsqueeze(1) + cols).unsqueeze([0, 3]), window)
    masked = (regions != regions.transpose([0, 1, 3, 2])).astype("float32") * MASKED
    return masked.reshape([-1, 1, window * window, window * window])


def _regions(length, window, shift):
    position = paddle.arange(length)
    return (position >= length - window).astype("int32") + (position >= length - shift).astype("int32")


def attend_in_windows(attention: Callable[..., paddle.Tensor], x: paddle.Tensor, window: int, shift: int,
                      pad_first: bool = False) -> paddle.Tensor:
    """``attention(windows [B, windows, N, C], mask or None)`` over a map [B, H, W, C] of any size; as large a map.

    The map is rolled by -``shift``, padded with zeros to whole windows, and brought back afterwards. As in timm,
    padding takes part in the attention like any pixel, and the mask follows the size found at run time. With
    ``pad_first`` it is padded before it is rolled, as in the paper's code and PaddleDetection's.
    """
    height, width = map_size(x)
    if pad_first:
        x = pad_map(x, window)
    if shift:
        x = paddle.roll(x, [-shift, -shift], [1, 2])
    if not pad_first:
        x = pad_map(x, window)
    padded = map_size(x)
    mask = shift_mask(padded, window, shift) if shift else None
    x = join_windows(attention(split_windows(x, window), mask), window, padded)
    if not pad_first:
        x = x[:, :height, :width]
    if shift:
        x = paddle.roll(x, [shift, shift], [1, 2])
    return x[:, :height, :width] if pad_first else x


def relative_positions(window: int) -> np.ndarray:
    """For all pairs of a window's N pixels, which of the (2 * window - 1)^2 offsets parts them: int64 [N * N]."""
    row, col = np.divmod(np.arange(window * window), window)
    rows, cols = (axis[:, None] - axis[None, :] + window - 1 for axis in (row, col))
    return (rows * (2 * window - 1) + cols).reshape(-1)
