# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Multi-scale deformable attention's sampling on a CPU, trained and exported: row lookups, arithmetic on flat arrays.

Eagerly and in runtimes, ``grid_sample``, the sum over a last axis of 12 points, and broadcasts along last axes (which
oneDNN does by its reference loops) take two to five times as long. So coordinates stay [B * Q, heads * P] here, what
differs between levels and heads is a row of constants, and boxes come to that form by one small matrix product.
"""
import numpy as np
import paddle
import paddle.nn.functional as F

from ..transpose import transposed


def sample_flat(value, spatial_shapes, offsets, boxes, weights, points, scales):
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
    x, y = _pixels(offsets, boxes, (width, height), scales)
    xs, ys = _two_pixels(x, width), _two_pixels(y, height)
    weights = weights.reshape([-1, heads * total])

    first = _row(start * heads + np.repeat(np.arange(heads), total), x)
    rows, shares = [], []
    for y_pixel, y_share in ys:
        line, y_share = y_pixel * _row(width * heads, x) + first, y_share * weights
        for x_pixel, x_share in xs:
            rows.append((line + x_pixel * float(heads)).reshape([-1, total]))
            shares.append((y_share * x_share).reshape([-1, total]))
    # whole numbers below 2**24 are exact in float32; the images of a batch, which could go beyond, are told apart after
    image = paddle.arange(paddle.shape(value)[0], dtype="int32").unsqueeze(1) * (length * heads)
    rows = paddle.concat(rows, 1).astype("int32").reshape([-1, queries * heads * 4 * total]) + image
    sampled = _look_up(value.reshape([-1, channels]), rows.reshape([-1, 4 * total]))
    shares = paddle.concat(shares, 1).unsqueeze(1)
    return paddle.bmm(shares, sampled.astype(shares.dtype)).reshape([-1, queries, heads * channels])


def _look_up(table, rows):
    """Rows of a table; in a graph by gather_nd, as gather would be followed by a copy of them all."""
    if paddle.in_dynamic_mode():
        return F.embedding(rows, table)
    return paddle.gather_nd(table, rows.unsqueeze(-1))


def _row(numbers, like):
    return paddle.to_tensor(np.asarray(numbers).reshape(1, -1), like.dtype)


def _of_points(spatial_shapes, points):
    """For each of the P points its level's height, width and first token."""
    sizes = np.array(spatial_shapes)
    starts = np.append(0, sizes.prod(1).cumsum()[:-1])
    return [np.repeat(a, points) for a in (*sizes.T, starts)]


def _pixels(offsets, boxes, sizes, scales):
    """x and y of the sampling points in pixels of their levels, 0 in the middle of the first: [B * Q, heads * P]."""
    count = sizes[0].size
    spread = np.zeros([4, 4 * count])  # box -> its centre in pixels, twice, and what an offset of one moves, twice
    for axis, size in enumerate(sizes):
        spread[axis, axis * count : (axis + 1) * count] = size
        spread[2 + axis, (2 + axis) * count : (3 + axis) * count] = size
    scales = scales.astype(boxes.dtype).tile([2 * count // scales.shape[0]])
    spread = paddle.to_tensor(spread, boxes.dtype) * paddle.concat([paddle.ones_like(scales), scales])
    middle = paddle.to_tensor(np.repeat([-0.5, 0.0], 2 * count), boxes.dtype)
    *centres, x_step, y_step = F.linear(boxes.reshape([-1, 4]), spread, middle).split(4, axis=1)
    offsets = transposed(offsets.reshape([-1, 2]), [1, 0]).reshape([2, -1, count])
    return [centre + offsets[axis] * step for axis, (centre, step) in enumerate(zip(centres, (x_step, y_step)))]


def _two_pixels(position, size):
    """The two pixels around a position along one axis, and their bilinear shares (0 outside)."""
    # a floor has no gradient; in a graph, a product by one keeps Paddle Inference with oneDNN from taking it in place,
    # on a value still needed (3.3.1: wrong without a word)
    low = paddle.floor(position.detach() if paddle.in_dynamic_mode() else position * 1.0)
    fraction = position - low
    pairs = []
    for step, share in ((0.0, 1.0 - fraction), (1.0, fraction)):
        pixel = low + step
        inside = (pixel + 1.0).clip(0.0, 1.0) * (_row(size, pixel) - pixel).clip(0.0, 1.0)
        pairs.append((paddle.minimum(pixel.clip(min=0.0), _row(size - 1, pixel)), share * inside))
    return pairs
