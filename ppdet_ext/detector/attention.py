# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Multi-scale deformable attention (https://arxiv.org/abs/2010.04159), in two forms with the same values.

Training on a CPU spends a large part of its time here. Looking the four neighbours of every sampling point up as rows
of a table and summing them with one batched matrix product, see flat_attention, costs a fifth of ``grid_sample``,
forward and backward. Training on GPUs, where it was never measured, keeps ``grid_sample``. Exported graphs look
rows up, too.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
from ppdet.modeling.initializer import constant_, xavier_uniform_

from .. import kernels
from ..errors import NotFinite, UserError
from ..kernels.dispatch import SelfCheck
from ..kernels.transpose import transposed
from .flat_attention import sample_flat

#: offsets of one move a point by this share of the box's size (over the number of the level's points)
OFFSET_SCALE = 0.5


class PPMSDeformableAttention(nn.Layer):
    """Cross attention of queries to a few sampled points per level; RT-DETR's.

    Offsets are in units of the reference box, spatial shapes are plain lists. Parameters as PaddleDetection develop's.

    Args:
        embed_dim, num_heads: channels, and the heads that share them.
        points: how many points are sampled in each level, one number a level.
        sampling: a key of SAMPLING. With ``discrete`` the offsets get no gradient and stay as they are.
    """

    SCALE_IS_STORED = False

    def __init__(self, embed_dim: int, num_heads: int, points: Sequence[int], sampling: str = 'default'):
        super().__init__()
        self.num_heads = num_heads
        self.points = list(points)
        self.sampling = sampling
        total = num_heads * sum(points)
        scale = paddle.to_tensor([1 / n for n in points for _ in range(n)], dtype='float32')
        self.register_buffer('num_points_scale', scale, persistable=self.SCALE_IS_STORED)
        self.sampling_offsets = nn.Linear(embed_dim, 2 * total)
        self.attention_weights = nn.Linear(embed_dim, total)
        self.value_proj = nn.Linear(embed_dim, embed_dim)
        self.output_proj = nn.Linear(embed_dim, embed_dim)
        self._reset_parameters()
        if sampling == 'discrete':
            for parameter in self.sampling_offsets.parameters():
                parameter.stop_gradient = True

    def _reset_parameters(self):
        """Head k looks into direction k of a circle, its n-th point n steps away; all points weigh the same."""
        for layer in (self.sampling_offsets, self.attention_weights):
            constant_(layer.weight)
        constant_(self.attention_weights.bias)
        angles = np.arange(self.num_heads) * (2.0 * math.pi / self.num_heads)
        directions = np.stack([np.cos(angles), np.sin(angles)], -1)
        directions /= np.abs(directions).max(-1, keepdims=True)
        steps = np.concatenate([np.arange(1, n + 1) for n in self.points])
        self.sampling_offsets.bias.set_value(
            (directions[:, None] * steps[:, None]).reshape(-1).astype('float32'))
        for layer in (self.value_proj, self.output_proj):
            xavier_uniform_(layer.weight)
            constant_(layer.bias)

    def forward(self, query: paddle.Tensor, reference_points: paddle.Tensor, value: paddle.Tensor,
                spatial_shapes: Sequence[tuple[int, int]]) -> paddle.Tensor:
        """Attention of the queries to the value at the points that they choose.

        Args:
            query: [B, Q, C].
            reference_points: [B, Q, 1, 4], boxes as cx, cy, w, h in [0, 1].
            value: [B, L, C], L = sum of h * w over the levels.
            spatial_shapes: list of (h, w), Python numbers.

        Returns:
            [B, Q, C]
        """
        value = self.value_proj(value)
        offsets, weights = self._choose(query)
        on_cpu = paddle.in_dynamic_mode() and query.place.is_cpu_place()
        if on_cpu:  # a GPU's sampling leaves such points out, and the matcher says so
            _require_finite(offsets, reference_points)
        eager_cpu = kernels.active() and on_cpu
        if self.sampling == 'default' and (not paddle.in_dynamic_mode() or (eager_cpu and FLAT_CHECK.passed())):
            sample = _sample_in_float32 if eager_cpu else sample_flat
            return self.output_proj(sample(value, spatial_shapes, offsets, reference_points, weights, self.points,
                                           self.num_points_scale * OFFSET_SCALE))

        locations = self._locations(offsets, reference_points)
        value = value.reshape([-1, value.shape[1], self.num_heads, value.shape[2] // self.num_heads])
        sample = SAMPLING[self.sampling][-1 if eager_cpu else 0]
        return self.output_proj(sample(value, spatial_shapes, locations, weights, self.points))

    def sampled(self, query: paddle.Tensor, reference_points: paddle.Tensor,
                spatial_shapes: Sequence[tuple[int, int]]) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Where ``forward`` reads, to be shown; arguments are its own.

        Returns:
            locations [B, Q, heads, P, 2], x and y as shares of the maps' width and height, P points level after level:
            with ``discrete`` the middle of the cell that is read; what lies outside [0, 1] reads (next to) nothing.
            weights [B, Q, heads, P], which add up to 1 over P.
        """
        offsets, weights = self._choose(query)
        locations = self._locations(offsets, reference_points)
        if self.sampling == 'default':
            return locations, weights
        height, width, _ = _level_sizes(spatial_shapes, self.points)
        cells = [_rounded(locations[..., axis], size).astype('float32') for axis, size in enumerate((width, height))]
        return paddle.stack([(cell + 0.5) / size.astype('float32')
                             for cell, size in zip(cells, (width, height))], -1), weights

    def _choose(self, query):
        """Offsets [B, Q, heads * P * 2] and weights [B, Q, heads, P] that the queries ask for."""
        # float32 also under mixed precision: half precision would place a point at the far end of an 80-cell map to a
        # third of a cell (bfloat16), and its bilinear shares with it
        offsets = self.sampling_offsets(query).astype('float32')
        weights = self.attention_weights(query).reshape([-1, query.shape[1], self.num_heads, sum(self.points)])
        return offsets, F.softmax(weights)

    def _locations(self, offsets, reference_points):
        """Offsets around boxes -> [B, Q, heads, P, 2], x and y in shares of the picture."""
        offsets = offsets.reshape([-1, offsets.shape[1], self.num_heads, sum(self.points), 2])
        centre, size = reference_points[..., :2].unsqueeze(3), reference_points[..., 2:].unsqueeze(3)
        return centre + offsets * self.num_points_scale.unsqueeze(-1) * (size * OFFSET_SCALE)


class StoredScaleAttention(PPMSDeformableAttention):
    """RT-DETRv2's: the scales of the points are in the checkpoint, too."""

    SCALE_IS_STORED = True


def points_of_levels(points: int | Sequence[int], levels: int) -> list[int]:
    """``num_decoder_points`` as a list with one number a level.

    Raises:
        UserError: a list of another length, or a number below one.
    """
    of_levels = [points] * levels if isinstance(points, int) else list(points)
    if len(of_levels) != levels or min(of_levels) < 1:
        raise UserError(f"num_decoder_points is {of_levels}; give one number above 0, or one for each of the {levels} "
                        "levels")
    return of_levels


def sample_by_grid(value: paddle.Tensor, spatial_shapes: Sequence[tuple[int, int]], locations: paddle.Tensor,
                   weights: paddle.Tensor, points: Sequence[int]) -> paddle.Tensor:
    """Weighted sum of bilinear samples, with ``grid_sample``.

    Args:
        value: [B, L, heads, channels].
        spatial_shapes: list of (h, w) per level; their products add up to L.
        locations: [B, Q, heads, P, 2], x and y in [0, 1]; P points, level after level.
        weights: [B, Q, heads, P].
        points: list of how many of the P points are each level's.

    Returns:
        [B, Q, heads * channels]; samples outside a level count as zero.
    """
    heads, channels = value.shape[2:]
    queries, total = locations.shape[1], sum(points)
    grids = _heads_first(locations * 2 - 1).reshape([-1, queries, total, 2]).split(points, axis=2)
    sampled, start = [], 0
    for (h, w), grid in zip(spatial_shapes, grids):
        plane = transposed(value[:, start : start + h * w].flatten(2), [0, 2, 1]).reshape([-1, channels, h, w])
        sampled.append(F.grid_sample(plane, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
        start += h * w
    weights = _heads_first(weights).reshape([-1, 1, queries, total])
    out = (paddle.concat(sampled, axis=-1) * weights).sum(-1)
    return transposed(out.reshape([-1, heads * channels, queries]), [0, 2, 1])


_SHAPES, _POINTS, _HEADS = [(5, 4), (3, 2)], [2, 2], 2


def _flat_on_boxes(value, offsets, weights):
    boxes = paddle.full([2, 3, 1, 4], 0.5)
    return sample_flat(value, _SHAPES, offsets, boxes, weights, _POINTS, paddle.full([sum(_POINTS)], 1.0))


def _grid_on_boxes(value, offsets, weights):
    locations = 0.5 + offsets.reshape([2, 3, _HEADS, sum(_POINTS), 2]) * 0.5
    return sample_by_grid(value.reshape([2, 26, _HEADS, 4]), _SHAPES, locations, weights, _POINTS)


#: two images, three queries
FLAT_CHECK = SelfCheck("deformable attention by row lookup", _flat_on_boxes, _grid_on_boxes,
                       [[2, 26, _HEADS * 4], [2, 3, _HEADS * sum(_POINTS) * 2], [2, 3, _HEADS, sum(_POINTS)]])


@paddle.jit.not_to_static
def _require_finite(offsets, boxes):
    """NaN made a whole number is -2147483648, and no row of any table."""
    if not math.isfinite(float(offsets.detach().sum()) + float(boxes.detach().sum())):
        raise NotFinite("predictions became NaN or infinite before sampling: the weights or the pictures' pixels are "
                        "no numbers, or the training diverged; lower base_lr or lengthen the warm-up")


@paddle.jit.not_to_static
def _sample_in_float32(*args):
    with paddle.amp.auto_cast(enable=False):
        return sample_flat(*args)


def pick_by_lookup(value: paddle.Tensor, spatial_shapes: Sequence[tuple[int, int]], locations: paddle.Tensor,
                   weights: paddle.Tensor, points: Sequence[int]) -> paddle.Tensor:
    """Weighted sum of the pixels nearest to the locations (RT-DETRv2's discrete sampling); as ``sample_by_grid``,
    but a location outside counts as the border's pixel, and locations get no gradient."""
    return _sum_rows_by_head(value, _nearest(spatial_shapes, locations, points), weights)


def pick_by_gather(value: paddle.Tensor, spatial_shapes: Sequence[tuple[int, int]], locations: paddle.Tensor,
                   weights: paddle.Tensor, points: Sequence[int]) -> paddle.Tensor:
    """The same as ``pick_by_lookup`` with ``take_along_axis``, which exported graphs have."""
    length, heads, channels = value.shape[1:]
    queries, total = locations.shape[1], sum(points)
    # as float32 on the way: oneDNN's passes take a transpose of whole numbers for theirs and fail (3.3.1)
    rows = _nearest(spatial_shapes, locations, points).astype("float32")
    rows = _heads_first(rows).reshape([-1, queries * total, 1]).astype("int32")
    table = _heads_first(value).reshape([-1, length, channels])
    picked = paddle.take_along_axis(table, rows.expand([-1, -1, channels]), axis=1)
    weights = _heads_first(weights).reshape([-1, queries, 1, total])
    out = paddle.matmul(weights, picked.reshape([-1, queries, total, channels]))
    return _heads_first(out.reshape([-1, heads, queries, channels])).reshape([-1, queries, heads * channels])


#: cross_attn_sampling_method -> where sample_flat does not serve: (on GPUs and in exported graphs, eagerly on a CPU)
SAMPLING = {'default': (sample_by_grid,), 'discrete': (pick_by_gather, pick_by_lookup)}


def discrete_layers(net: nn.Layer) -> list[PPMSDeformableAttention]:
    """The layers of ``net`` that round where they sample, so that a last bit moves a point and with it a query."""
    return [layer for layer in net.sublayers(include_self=True)
            if isinstance(layer, PPMSDeformableAttention) and layer.sampling != 'default']


def sample_bilinearly(net: nn.Layer) -> bool:
    """Turn off discrete sampling in all of ``net``, for comparisons; whether there was any."""
    discrete = discrete_layers(net)
    for layer in discrete:
        layer.sampling = 'default'
    return bool(discrete)


def _heads_first(x):
    """[B, Q, heads, ...] <-> [B, heads, Q, ...]."""
    return transposed(x, [0, 2, 1, *range(3, x.ndim)])


def _sum_rows_by_head(value, rows, shares):
    """For each query and head the sum of value's rows, times their shares.

    Args:
        value: [B, L, heads, channels].
        rows, shares: [B, Q, heads, K], rows counted over all levels.

    Returns:
        [B, Q, heads * channels]
    """
    batch, length, heads, channels = value.shape
    queries = rows.shape[1]
    # one table of rows: image after image, head after head, position after position
    head_start = paddle.arange(batch * heads, dtype="int32").reshape([batch, 1, heads]) * length
    rows = rows + head_start.unsqueeze(-1)
    table = _heads_first(value).reshape([-1, channels])
    sampled = F.embedding(rows.reshape([batch * queries * heads, -1]), table)
    out = paddle.bmm(shares.reshape([batch * queries * heads, 1, -1]), sampled.astype(shares.dtype))
    return out.reshape([batch, queries, heads * channels])


def _level_sizes(spatial_shapes, points):
    """Height, width and first row of the level that each of the P points is in: int32 tensors [P]."""
    sizes = np.array(spatial_shapes, "int32")
    starts = np.cumsum(np.append(0, sizes.prod(1)[:-1])).astype("int32")
    return [paddle.to_tensor(np.repeat(a, points)) for a in (*sizes.T, starts)]


def _nearest(spatial_shapes, locations, points):
    """Row of the pixel that each location [..., P, 2] means, int32 [..., P].

    The published rule rounds size * location, which is half a pixel beside the pixels' centres; weights are trained
    with it.
    """
    height, width, start = _level_sizes(spatial_shapes, points)
    x, y = (_rounded(locations[..., axis], size) for axis, size in enumerate((width, height)))
    return y * width + x + start


def _rounded(position, size):
    size = size.astype(position.dtype)
    # cut before the cast: far-off points would overflow the integer
    return paddle.minimum((position.detach() * size + 0.5).floor().clip(min=0.0), size - 1).astype("int32")
