# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Multi-scale deformable attention (https://arxiv.org/abs/2010.04159), in two forms with the same values.

Training on a CPU spends a large part of its time here. Looking the four neighbours of every sampling point up as rows
of an embedding table and summing them with one batched matrix product costs less than half of ``grid_sample``, forward
and backward. Exported graphs keep ``grid_sample``, which inference engines know.
"""
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

        offsets = self.sampling_offsets(query).reshape([-1, queries, *points, 2])
        weights = self.attention_weights(query).reshape([-1, queries, self.num_heads, points[1] * points[2]])
        weights = F.softmax(weights).reshape([-1, queries, *points])

        centre = reference_points[:, :, None, :, None, :2]
        half_size = reference_points[:, :, None, :, None, 2:] * 0.5
        locations = centre + offsets / self.num_points * half_size

        sample = sample_by_lookup if paddle.in_dynamic_mode() else sample_by_grid
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
    queries = locations.shape[1]
    rows, coefficients = _neighbours(spatial_shapes, locations, weights)
    table_start = (paddle.arange(batch, dtype="int32").reshape([-1, 1, 1]) * heads
                   + paddle.arange(heads, dtype="int32").reshape([1, 1, -1])) * length
    rows = (rows.flatten(3) + table_start.unsqueeze(-1)).reshape([batch * queries * heads, -1])
    table = value.transpose([0, 2, 1, 3]).reshape([batch * heads * length, channels])
    sampled = F.embedding(rows, table)
    coefficients = coefficients.reshape([batch * queries * heads, 1, -1])
    return paddle.bmm(coefficients, sampled.astype(coefficients.dtype)).reshape([batch, queries, heads * channels])


def _neighbours(spatial_shapes, locations, weights):
    """Row numbers and coefficients of the four pixels around each point, both [B, Q, heads, levels, points, 2, 2]."""
    starts = [0]
    for h, w in spatial_shapes[:-1]:
        starts.append(starts[-1] + h * w)
    per_level = [1, 1, 1, len(spatial_shapes), 1, 1]
    height = paddle.to_tensor([h for h, _ in spatial_shapes], dtype="int32").reshape(per_level)
    width = paddle.to_tensor([w for _, w in spatial_shapes], dtype="int32").reshape(per_level)
    start = paddle.to_tensor(starts, dtype="int32").reshape(per_level)

    x, x_share = _two_pixels(locations[..., 0], width)
    y, y_share = _two_pixels(locations[..., 1], height)
    y_share = y_share * weights.unsqueeze(-1)
    rows = (y * width + start).unsqueeze(-1) + x.unsqueeze(-2)
    return rows, y_share.unsqueeze(-1) * x_share.unsqueeze(-2)


def _two_pixels(position, size):
    """The two pixels around a position in [0, 1] along one axis and their bilinear shares (0 outside), [..., 2]."""
    pixel = position.unsqueeze(-1) * size.astype(position.dtype) - 0.5
    # far-off points would overflow the integer; two pixels outside is outside
    low = paddle.floor(pixel.detach()).clip(min=-2.0)
    low = paddle.minimum(low, size.astype(low.dtype))
    share = pixel - low
    share = paddle.concat([1 - share, share], axis=-1)
    index = paddle.concat([low, low + 1], axis=-1).astype("int32")
    last = size - 1
    inside = ((index >= 0) & (index <= last)).astype(share.dtype)
    return paddle.minimum(index.clip(min=0), last), share * inside
