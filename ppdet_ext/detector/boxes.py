# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Box arithmetic shared by the decoder, the denoising queries, the matcher and the losses."""
from __future__ import annotations

import numpy as np
import paddle


def cxcywh_to_xyxy(boxes: paddle.Tensor) -> paddle.Tensor:
    """[..., 4] boxes as centre x, centre y, width, height -> x1, y1, x2, y2 in the same unit."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return paddle.concat([centre - 0.5 * size, centre + 0.5 * size], axis=-1)


def xyxy_to_cxcywh(boxes: paddle.Tensor) -> paddle.Tensor:
    """[..., 4] boxes as x1, y1, x2, y2 -> centre x, centre y, width, height in the same unit."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return paddle.concat([(low + high) / 2, high - low], axis=-1)


def inverse_sigmoid(x: paddle.Tensor, eps: float = 1e-5) -> paddle.Tensor:
    """log(x / (1 - x)) for x of any shape, clipped to [0, 1]; eps bounds it, so that 0 and 1 stay finite.

    x is float32 also under mixed precision: float16 cannot tell 1 - 1e-5 from 1, where the slope is steepest, and
    bfloat16 not even 0.998.
    """
    x = x.clip(min=0.0, max=1.0)
    return paddle.log(x.clip(min=eps) / (1 - x).clip(min=eps))


def iou_and_giou(a: paddle.Tensor, b: paddle.Tensor, eps: float = 1e-10) -> tuple[paddle.Tensor, paddle.Tensor]:
    """IoU and generalised IoU (https://arxiv.org/abs/1902.09630) of boxes pair by pair.

    Args:
        a, b: [N, 4] tensors of x1, y1, x2, y2.

    Returns:
        two tensors of shape [N].
    """
    overlap = _area(paddle.maximum(a[:, :2], b[:, :2]), paddle.minimum(a[:, 2:], b[:, 2:]))
    union = _area(a[:, :2], a[:, 2:]) + _area(b[:, :2], b[:, 2:]) - overlap + eps
    hull = _area(paddle.minimum(a[:, :2], b[:, :2]), paddle.maximum(a[:, 2:], b[:, 2:])) + eps
    iou = overlap / union
    return iou, iou - (hull - union) / hull


def _area(low, high):
    """Products of the sides, 0 where a side is not positive; there the gradient is 0, too.

    prod's own gradient divides by each side, so at a side of 0 it is NaN. This one is never asked for it.
    """
    sides = high - low
    there = sides > 0
    area = paddle.where(there, sides, paddle.ones_like(sides)).prod(axis=-1)
    return paddle.where(there.all(axis=-1), area, paddle.zeros_like(area))


def pairwise_giou(a: np.ndarray, b: np.ndarray, eps: float = 1e-10) -> np.ndarray:
    """Generalised IoU of every pair, in NumPy: [N, 4] and [M, 4] arrays of cx, cy, w, h -> [N, M]."""
    a, b = _corners(a)[:, None], _corners(b)[None]
    overlap = _area_np(np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:]))
    union = _area_np(a[..., :2], a[..., 2:]) + _area_np(b[..., :2], b[..., 2:]) - overlap + eps
    hull = _area_np(np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:])) + eps
    return overlap / union - (hull - union) / hull


def _corners(boxes):
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def _area_np(low, high):
    return np.clip(high - low, 0, None).prod(axis=-1)
