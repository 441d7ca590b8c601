# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Multi-scale deformable attention's sampling on a CPU, trained and exported: row lookups, arithmetic on flat arrays.

Eagerly and in runtimes, ``grid_sample``, the sum over a last axis of 12 points, and broadcasts along last axes (which
oneDNN does by its reference loops) take two to five times as long. So coordinates stay [B * Q, heads * P] here, what
differs between levels and heads is a row of constants, and boxes come to that form by one small matrix product.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle.autograd import PyLayer

from ..kernels.linear import repeated
from ..kernels.transpose import transposed


def sample_flat(value: paddle.Tensor, spatial_shapes: Sequence[tuple[int, int]], offsets: paddle.Tensor,
                boxes: paddle.Tensor, weights: paddle.Tensor, points: Sequence[int],
                scales: paddle.Tensor) -> paddle.Tensor:
    """Weighted sum of bilinear samples; samples outside a level count as zero. Eagerly not under mixed precision.

    Args:
        value: [B, L, C], C = heads * channels.
        spatial_shapes: list of (h, w) per level, Python numbers; their products add up to L.
        offsets: [B, Q, heads * P * 2], x and y; P points, level after level.
        boxes: [B, Q, 1, 4], cx, cy, w, h in [0, 1].
        weights: [B, Q, heads, P].
        points: list of how many of the P points are each level's.
        scales: [P], the share of the box's size that an offset of one is.

    Returns:
        [B, Q, C]
    """
    queries, heads, total = weights.shape[1:]
    length, channels = value.shape[1], value.shape[2] // heads
    height, width, start = (np.tile(row, heads) for row in _of_points(spatial_shapes, points))
    pixels, shares = two_pixels(_positions(offsets, boxes, (width, height), scales), [width, height])
    # the row of a pixel: x * heads + y * width * heads + the head's first one
    first = start * heads + np.repeat(np.arange(heads), total)
    steps, firsts = [np.full_like(width, heads), width * heads], [np.zeros_like(first), first]
    x, y = _four_corners(pixels * _row(2 * steps, pixels) + _row(2 * firsts, pixels))
    rows = _by_head(x + y, heads)
    x, y = _four_corners(shares, weights.reshape([-1, heads * total]))
    shares = _by_head(x * y, heads).unsqueeze(1)
    # whole numbers below 2**24 are exact in float32; the images of a batch, which could go beyond, are told apart after
    image = paddle.arange(paddle.shape(value)[0], dtype="int32").unsqueeze(1) * (length * heads)
    rows = rows.astype("int32").reshape([-1, queries * heads * 4 * total]) + image
    table = value.reshape([-1, channels]).astype(shares.dtype)
    return _sum_rows(table, rows.reshape([-1, 4 * total]), shares).reshape([-1, queries, heads * channels])


def _sum_rows(table, rows, shares):
    """Weighted sums of a table's rows: [R, C], int32 [N, K], [N, 1, K] -> [N, 1, C]."""
    if not paddle.in_dynamic_mode():
        # not gather, which would be followed by a copy of all the rows
        return paddle.bmm(shares, paddle.gather_nd(table, rows.unsqueeze(-1)))
    return _RowSums.apply(shares, F.embedding(rows, table), table.detach(), rows)


class _RowSums(PyLayer):
    """Weighted sums of rows; they are looked up again in the backward pass.

    Kept, they would be the largest tensors of a training step: 97 MiB in each layer of R18 at 320x320, batch 4.
    """

    @staticmethod
    def forward(ctx, shares, looked_up, table, rows) -> paddle.Tensor:
        ctx.save_for_backward(shares, table, rows)
        ctx.wanted = [not tensor.stop_gradient for tensor in (shares, looked_up)]
        return paddle.bmm(shares, looked_up)

    @staticmethod
    def backward(ctx, grad_output) -> tuple:  # type: ignore[override]  # Paddle hands on one gradient an output
        shares, table, rows = ctx.saved_tensor()
        shares_wanted, rows_wanted = ctx.wanted
        grad_shares = paddle.matmul(grad_output, F.embedding(rows, table), transpose_y=True) if shares_wanted else None
        grad_rows = paddle.matmul(shares, grad_output, transpose_x=True) if rows_wanted else None
        return grad_shares, grad_rows, None, None


def _row(numbers, like):
    """A row of numbers, for arithmetic with all rows of [N, M]: in a graph [1, M], eagerly [N, M]."""
    row = np.concatenate(numbers)
    if not paddle.in_dynamic_mode():
        return paddle.to_tensor(row[None], like.dtype)
    return repeated(paddle.to_tensor(row, like.dtype), like.shape[0])


def _of_points(spatial_shapes, points):
    """For each of the P points its level's height, width and first token."""
    sizes = np.array(spatial_shapes)
    starts = np.append(0, sizes.prod(1).cumsum()[:-1])
    return [np.repeat(a, points) for a in (*sizes.T, starts)]


def _positions(offsets, boxes, sizes, scales):
    """x, then y, of the points in pixels of their levels, 0 in the middle of the first: [B * Q, 2 * heads * P]."""
    count = sizes[0].size
    spread = np.zeros([4, 4 * count])  # box -> its centre in pixels, and what an offset of one moves
    for axis, size in enumerate(sizes):
        spread[axis, axis * count : (axis + 1) * count] = size
        spread[2 + axis, (2 + axis) * count : (3 + axis) * count] = size
    scales = scales.astype(boxes.dtype).tile([2 * count // scales.shape[0]])
    spread = paddle.to_tensor(spread, boxes.dtype) * paddle.concat([paddle.ones_like(scales), scales])
    middle = paddle.to_tensor(np.repeat([-0.5, 0.0], 2 * count), boxes.dtype)
    centre, step = F.linear(boxes.reshape([-1, 4]), spread, middle).split(2, axis=1)
    offsets = transposed(offsets.reshape([-1, count, 2]), [0, 2, 1]).reshape([-1, 2 * count])
    return centre + offsets * step


def two_pixels(position: paddle.Tensor, sizes: list[np.ndarray]) -> tuple[paddle.Tensor, paddle.Tensor]:
    """The two pixels around each position along its axis, and their bilinear shares.

    Args:
        position: [N, M], for x, then y.
        sizes: width and height, M / 2 numbers each.

    Returns:
        pixels, shares: [N, 2 * M], those of the lower pixels, then of the upper ones; both are 0 outside.
    """
    # a floor has no gradient; in a graph, a product by one keeps Paddle Inference with oneDNN from taking it in place,
    # on a value still needed (3.3.1: wrong without a word)
    low = paddle.floor(position.detach() if paddle.in_dynamic_mode() else position * 1.0)
    fraction = position - low
    pixels = paddle.concat([low, low + 1.0], 1)
    # 1 or more inside, 0 or less outside
    inside = ((pixels + 1.0) * (_row(2 * sizes, pixels) - pixels)).clip(0.0, 1.0)
    return pixels * inside, paddle.concat([1.0 - fraction, fraction], 1) * inside


def _four_corners(pairs, weights=None):
    """What the four pixels around each point have along x, and along y (times weights): [N, 4 * M] of [N, 4 * M]."""
    low_x, low_y, high_x, high_y = pairs.split(4, axis=1)
    if weights is not None:
        low_y, high_y = low_y * weights, high_y * weights
    return paddle.concat([low_x, high_x, low_x, high_x], 1), paddle.concat([low_y, low_y, high_y, high_y], 1)


def _by_head(corners, heads):
    """[B * Q, 4 * heads * P] -> [B * Q * heads, 4 * P]."""
    points = corners.shape[1] // (4 * heads)
    return transposed(corners.reshape([-1, 4, heads, points]), [0, 2, 1, 3]).reshape([-1, 4 * points])
