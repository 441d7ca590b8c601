# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One anchor box a token: where the encoder's tokens begin to look for objects."""
from __future__ import annotations

import functools

import numpy as np

#: stands for "no anchor here": the sigmoid of it is 1 in every precision, and it stays finite in half precision
NO_ANCHOR = 1e4


@functools.lru_cache(maxsize=32)
def make_anchors(spatial_shapes: tuple[tuple[int, int], ...], eps: float = 1e-2,
                 grid_size: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """One square anchor a token, 0.05 * 2**level of the image wide, centred on the token's cell.

    PaddleDetection develop divides both coordinates by (h, w) in this order, right for square maps only; this is the
    same there, and what transformers' RTDetr does for other maps.

    Args:
        spatial_shapes: (h, w) of each level.
        eps: anchors closer than this to the border of [0, 1] are not valid.
        grid_size: side of the finest level's anchors, as a share of the image.

    Returns:
        arrays: float32 [L, 4], the inverse sigmoid of cx, cy, w, h (NO_ANCHOR where not valid), and bool [L, 1],
        whether all four lie in (eps, 1 - eps).
    """
    levels = []
    for level, (h, w) in enumerate(spatial_shapes):
        y, x = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing='ij')
        side = np.full_like(x, grid_size * 2.0**level)
        levels.append(np.stack([x, y, side, side], -1).reshape(-1, 4))
    anchors = np.concatenate(levels).astype('float32')
    valid = ((anchors > eps) & (anchors < 1 - eps)).all(-1, keepdims=True)
    return np.where(valid, np.log(anchors / (1 - anchors)), np.float32(NO_ANCHOR)), valid
