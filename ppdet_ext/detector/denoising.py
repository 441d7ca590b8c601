# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Contrastive denoising queries (DINO, https://arxiv.org/abs/2203.03605).

Noisy copies of the ground truth join the decoder's queries in training. A group holds one positive copy of every box
(small noise, to be restored) followed by one negative copy (larger noise, to be rejected).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import paddle

from ..distributed import processes
from .boxes import cxcywh_to_xyxy, inverse_sigmoid, xyxy_to_cxcywh
from .outputs import DenoisingMeta


class DenoisingQueries(NamedTuple):
    """Queries made from the ground truth.

    Args:
        content: [B, N, C].
        raw_boxes: [B, N, 4], before the sigmoid.
        mask: [N + Q, N + Q] bool, True where a row may attend to a column.
        meta: for the head.
    """
    content: paddle.Tensor
    raw_boxes: paddle.Tensor
    mask: paddle.Tensor
    meta: DenoisingMeta


def contrastive_denoising(gt_class: Sequence[paddle.Tensor], gt_bbox: Sequence[paddle.Tensor], num_classes: int,
                          num_queries: int, class_embed: paddle.Tensor, num_denoising: int = 100,
                          label_noise_ratio: float = 0.5, box_noise_scale: float = 1.0) -> DenoisingQueries | None:
    """Make the denoising queries of a batch.

    Args:
        gt_class: list of B integer tensors [n, 1].
        gt_bbox: list of B tensors [n, 4], cx, cy, w, h in [0, 1].
        num_classes, num_queries: of the detector.
        class_embed: [num_classes, C], the embedding of labels.
        num_denoising: wished number of queries of one sign; over the most boxes of an image it gives the groups.
        label_noise_ratio: half of this share of the labels is replaced by a random one.
        box_noise_scale: corners move by up to this share of half the box's size (positive copies), once to twice that
            (negative copies).

    Returns:
        DenoisingQueries, or None when denoising is off or no image has a box.
    """
    if num_denoising <= 0:
        return None
    most = processes.all_reduce_max(max((len(c) for c in gt_class), default=0))
    if most == 0:
        return None
    groups = max(num_denoising // most, 1)

    labels, boxes, filled = _padded(gt_class, gt_bbox, num_classes, most)
    labels, filled = np.tile(labels, [1, 2 * groups]), np.tile(filled, [1, 2 * groups])
    boxes = boxes.tile([1, 2 * groups, 1])
    negative = np.tile(np.repeat([False, True], most), groups)

    positive = filled & ~negative
    content = _embed(_noisy_labels(labels, filled, num_classes, label_noise_ratio), class_embed)
    if box_noise_scale > 0:
        boxes = inverse_sigmoid(noisy_boxes(boxes, negative, box_noise_scale))
    meta = DenoisingMeta([np.flatnonzero(row) for row in positive], groups, [2 * most * groups, num_queries])
    return DenoisingQueries(content, boxes, attention_mask(2 * most, groups, num_queries), meta)


def _padded(gt_class, gt_bbox, num_classes, most):
    """Labels [B, most] (num_classes where there is none), boxes [B, most, 4], and where a box is."""
    labels = np.full([len(gt_class), most], num_classes, dtype="int64")
    boxes = np.zeros([len(gt_class), most, 4], dtype="float32")
    for i, (classes, box) in enumerate(zip(gt_class, gt_bbox)):
        labels[i, : len(classes)] = classes.numpy().reshape(-1)
        boxes[i, : len(classes)] = box.astype("float32").numpy().reshape(-1, 4)
    return labels, paddle.to_tensor(boxes), labels != num_classes


def _noisy_labels(labels, filled, num_classes, ratio):
    flip = (paddle.rand(labels.shape).numpy() < ratio * 0.5) & filled
    random = paddle.randint(0, num_classes, labels.shape).numpy()
    return np.where(flip, random, labels)


def _embed(labels, class_embed):
    """Content of each query; the padding label, one past the last class, gives zeros."""
    table = paddle.concat([class_embed, paddle.zeros([1, class_embed.shape[-1]], class_embed.dtype)])
    return paddle.nn.functional.embedding(paddle.to_tensor(labels), table)


def noisy_boxes(boxes: paddle.Tensor, negative: np.ndarray, scale: float) -> paddle.Tensor:
    """Boxes whose corners moved at random.

    Args:
        boxes: [B, N, 4], cx, cy, w, h in [0, 1].
        negative: bool [N], which of them move by more than half of the reach.
        scale: the largest move of a positive one, as a share of half the box's size; negative ones go twice as far.

    Returns:
        [B, N, 4], cut to the image.
    """
    reach = boxes[..., 2:].tile([1, 1, 2]) * (0.5 * scale)
    sign = paddle.randint(0, 2, boxes.shape).astype(boxes.dtype) * 2 - 1
    size = paddle.rand(boxes.shape, boxes.dtype) + paddle.to_tensor(negative.astype("float32")).reshape([1, -1, 1])
    return xyxy_to_cxcywh((cxcywh_to_xyxy(boxes) + sign * size * reach).clip(min=0.0, max=1.0))


def attention_mask(group_size: int, groups: int, num_queries: int) -> paddle.Tensor:
    """[N + Q, N + Q] bool, True where row may attend to column: a group sees itself and the queries, queries see
    only queries (they must not peek at noisy ground truth)."""
    group = np.repeat(np.arange(groups + 1), [group_size] * groups + [num_queries])
    return paddle.to_tensor((group[:, None] == group[None]) | (group == groups)[None])
