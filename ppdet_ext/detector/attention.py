# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Multi-scale deformable attention (https://arxiv.org/abs/2010.04159), in two forms with the same values.

Training on a CPU spends a large part of its time here. Looking the four neighbours of every sampling point up as rows
of an embedding table and summing them with one batched matrix product costs less than half of ``grid_sample``, forward
and backward. GPUs, where it would hold more memory, and exported graphs keep ``grid_sample``.
"""
import numpy as np
import paddle
import paddle.nn.functional as F
from ppdet.modeling.transformers.deformable_transformer import MSDeformableAttention


class PPMSDeformableAttention(MSDeformableAttention):
    """Cross attention of queries to a few sampled points per level.

    Parameters are those of ppdet's MSDeformableAttention; the sampling is PaddleDetection develop's
    ``PPMSDeformableAttention``: offsets are in units of the reference box, spatial shapes are plain lists.
    """

    def forward(self, query, reference_points, value, spatial_shapes, value_mask=None):
        """
        Args:
            query: [B, Q, C].
            reference_points: [B, Q, 1, 4], boxes as cx, cy, w, h in [0, 1].
            value: [B, L, C], L = sum of h * w over the levels.
            spatial_shapes: list of (h, w), Python numbers.
            value_mask: [B, L], 0 where the value is padding, or None.

        Returns:
            [B, Q, C]
        """
        queries = query.shape[1]
        points = [self.num_heads, self.num_levels, self.num_points]
        value = self.value_proj(value)
        if value_mask is not None:
            value = value * value_mask.astype(value.dtype).unsqueeze(-1)
        value = value.reshape([-1, value.shape[1], self.num_heads, self.head_dim])

        # float32 also under mixed precision: half precision would place a point at the far end of an 80-cell map to a
        # third of a cell (bfloat16), and its bilinear shares with it
        offsets = self.sampling_offsets(query).astype('float32').reshape([-1, queries, *points, 2])
        weights = self.attention_weights(query).reshape([-1, queries, self.num_heads, points[1] * points[2]])
        weights = F.softmax(weights).reshape([-1, queries, *points])

        centre = reference_points[:, :, None, :, None, :2]
        half_size = reference_points[:, :, None, :, None, 2:] * 0.5
        locations = centre + offsets / self.num_points * half_size

        eager_cpu = paddle.in_dynamic_mode() and query.place.is_cpu_place()
        sample = sample_by_lookup if eager_cpu else sample_by_grid
        return self.output_proj(sample(value, spatial_shapes, locations, weights))


def sample_by_grid(value, spatial_shapes, locations, weights):
    """Weighted sum of bilinear samples, with ``grid_sample``; arguments as in ``sample_by_lookup``."""
    heads, channels = value.shape[2:]
    queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
    grids = locations * 2 - 1
    sampled, start = [], 0
    for level, (h, w) in enumerate(spatial_shapes):
        plane = value[:, start : start + h * w].flatten(2).transpose([0, 2, 1]).reshape([-1, channels, h, w])
        grid = grids[:, :, :, level].transpose([0, 2, 1, 3, 4]).reshape([-1, queries, points, 2])
        sampled.append(F.grid_sample(plane, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
        start += h * w
    weights = weights.transpose([0, 2, 1, 3, 4]).reshape([-1, 1, queries, levels * points])
    out = (paddle.concat(sampled, axis=-1) * weights).sum(-1)
    return out.reshape([-1, heads * channels, queries]).transpose([0, 2, 1])


def sample_by_lookup(value, spatial_shapes, locations, weights):
    """Weighted sum of bilinear samples, as row lookups and one batched matrix product.

    Args:
        value: [B, L, heads, channels].
        spatial_shapes: list of (h, w) per level; their products add up to L.
        locations: [B, Q, heads, levels, points, 2], x and y in [0, 1].
        weights: [B, Q, heads, levels, points].

    Returns:
        [B, Q, heads * channels]; samples outside a level count as zero.
    """
    batch, length, heads, channels = value.shape
    queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
    rows, shares = _neighbours(spatial_shapes, locations.reshape([-1, levels * points, 2]), points)
    shares = shares * weights.reshape([-1, levels * points, 1, 1])

    # one table of rows: image after image, head after head, position after position
    head_start = paddle.arange(batch * heads, dtype="int32").reshape([batch, 1, heads]) * length
    rows = rows.reshape([batch, queries, heads, -1]) + head_start.unsqueeze(-1)
    table = value.transpose([0, 2, 1, 3]).reshape([-1, channels])
    sampled = F.embedding(rows.reshape([batch * queries * heads, -1]), table)
    out = paddle.bmm(shares.reshape([batch * queries * heads, 1, -1]), sampled.astype(shares.dtype))
    return out.reshape([batch, queries, heads * channels])


def _neighbours(spatial_shapes, locations, points):
    """Rows and bilinear shares of the four pixels around each location.

    Args:
        locations: [N, levels * points, 2].

    Returns:
        rows counted over all levels (int32) and shares, both [N, levels * points, 2, 2]. (No more than four
        dimensions: Paddle 2.6 broadcasts few.)
    """
    sizes = np.array(spatial_shapes, "int32")
    starts = np.cumsum(np.append(0, sizes.prod(1)[:-1])).astype("int32")
    height, width, start = (paddle.to_tensor(np.repeat(a, points)).unsqueeze(-1) for a in (*sizes.T, starts))
    x, x_share = _two_pixels(locations[..., 0], width)
    y, y_share = _two_pixels(locations[..., 1], height)
    rows = (y * width + start).unsqueeze(-1) + x.unsqueeze(-2)
    return rows, y_share.unsqueeze(-1) * x_share.unsqueeze(-2)


def _two_pixels(position, size):
    """The two pixels around a position in [0, 1] along one axis and their bilinear shares (0 outside), [..., 2].

    Both come from broadcasting against (0, 1): concatenating along a last axis of two costs several times as much.
    """
    pixel = position.unsqueeze(-1) * size.astype(position.dtype) - 0.5
    # far-off points would overflow the integer; two pixels outside is outside
    low = paddle.minimum(paddle.floor(pixel.detach()).clip(min=-2.0), size.astype(pixel.dtype))
    step = paddle.to_tensor([0.0, 1.0], dtype=pixel.dtype)
    index = (low + step).astype("int32")
    last = size - 1
    inside = ((index >= 0) & (index <= last)).astype(pixel.dtype)
    # 1 - fraction for the lower pixel, fraction for the upper one
    share = (1 - step) * inside + (pixel - low) * ((2 * step - 1) * inside)
    return paddle.minimum(index.clip(min=0), last), share
