# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Interpolation along one axis as a matrix, as torch's F.interpolate and timm compute it. In numpy, in float64."""
from __future__ import annotations

import numpy as np

from ..errors import UserError


def _triangle(x):
    return np.maximum(1 - np.abs(x), 0)


def _cubic(a):
    def kernel(x):
        x = np.abs(x)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        return np.where(x < 1, near, np.where(x < 2, far, 0))
    return kernel


# mode -> (half width in pixels, kernel, kernel with antialias). torch takes a = -0.5 only where it smooths.
KERNELS = {
    "bilinear": (1, _triangle, _triangle),
    "bicubic": (2, _cubic(-0.75), _cubic(-0.5)),
}
KERNELS["linear"] = KERNELS["bilinear"]
NEAREST = {"nearest": 0.0, "nearest-exact": 0.5}  # mode -> offset of the position read


def interpolation_matrix(n_in: int, n_out: int, mode: str = "bicubic", antialias: bool = False,
                         scale: float | None = None, align_corners: bool = False) -> np.ndarray:
    """What torch's F.interpolate does along one axis: ``y = matrix @ x``.

    Args:
        mode: nearest, nearest-exact, bilinear (linear) or bicubic.
        scale: scale_factor given to F.interpolate, where it was given and not recomputed; None takes n_out / n_in.

    Returns:
        float64 [n_out, n_in]; each row sums to 1.

    Raises:
        UserError: unknown mode.
    """
    step = _step(n_in, n_out, scale, align_corners)
    if mode in NEAREST:
        return _nearest_matrix(n_in, n_out, step, NEAREST[mode])
    if mode not in KERNELS:
        raise UserError(f"interpolation mode '{mode}' is unknown; choose from {', '.join([*NEAREST, *KERNELS])}")
    width, kernel, smoothing_kernel = KERNELS[mode]
    index = np.arange(n_out, dtype=np.float64)[:, None]
    if antialias:
        weights = smoothing_kernel((np.arange(n_in) - (index + 0.5) * step + 0.5) / max(step, 1.0))
        return weights / weights.sum(1, keepdims=True)
    centre = index * step if align_corners else (index + 0.5) * step - 0.5
    taps = np.floor(centre).astype(np.int64) + np.arange(1 - width, 1 + width)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], taps.clip(0, n_in - 1)), kernel(taps - centre))
    return matrix


def _step(n_in, n_out, scale, align_corners):
    """Input pixels per output pixel."""
    if align_corners:
        return (n_in - 1) / (n_out - 1) if n_out > 1 else 0.0
    return 1 / scale if scale else n_in / n_out


def _nearest_matrix(n_in, n_out, step, offset):
    if not offset and n_out in (n_in, 2 * n_in):
        step = n_in / n_out  # torch takes these two sizes for what they are, whatever scale says
    # In float32 as torch: where a position falls on an edge, rounding decides which pixel is read.
    position = (np.arange(n_out, dtype=np.float32) + np.float32(offset)) * np.float32(step)
    return np.eye(n_in)[np.minimum(position.astype(np.int64), n_in - 1)]


def geometric_matrix(n_in: int, n_out: int) -> np.ndarray:
    """Linear interpolation of a relative position axis whose inner distances matter most, [n_out, n_in].

    The source's entries are taken to lie at distances 0, 1, 1 + q, 1 + q + q^2, ... with the q that makes them reach as
    far as the target's integer distances. Source: BEiT; timm.layers.resize_rel_pos_bias_table (without scipy).
    """
    half = n_in // 2
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        low, high = (low, q) if (1 - q ** half) / (1 - q) > n_out // 2 else (q, high)
    distances = np.cumsum(q ** np.arange(half))
    source = np.concatenate([-distances[::-1], [0], distances])
    target = np.arange(n_out) - n_out // 2
    return np.stack([np.interp(target, source, unit) for unit in np.eye(n_in)], axis=1)
