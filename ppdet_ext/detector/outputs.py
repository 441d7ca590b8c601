# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the detector's parts hand on to each other, by name: decoder to head, head to loss or post-processing.

Boxes are cx, cy, w, h in [0, 1] everywhere but in Detections. The order of the fields is that of PaddleDetection's
tuples, so its own heads and post-processing can take and give them.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle


class DenoisingMeta(NamedTuple):
    """How a batch's denoising queries lie among all queries.

    Args:
        positives: for each image the numbers of the queries that shall restore a box, int64 [groups * n]: the image's
            n boxes in their order, group after group.
        groups: how many times each box stands among them.
        split: [N, Q], the numbers of denoising and of ordinary queries, in the order in which they stand.
    """
    positives: list[np.ndarray]
    groups: int
    split: list[int]


class DecoderOutput(NamedTuple):
    """What the transformer gives its head.

    Args:
        boxes: [layers, B, N + Q, 4]; outside training only one layer's and without denoising queries.
        logits: [layers, B, N + Q, classes].
        encoder_boxes: [B, Q, 4], the encoder's guess for the tokens that became queries.
        encoder_logits: [B, Q, classes].
        denoising: of the N denoising queries, which come first; None where there are none.
    """
    boxes: paddle.Tensor
    logits: paddle.Tensor
    encoder_boxes: paddle.Tensor
    encoder_logits: paddle.Tensor
    denoising: DenoisingMeta | None = None


class HeadOutput(NamedTuple):
    """What a head gives outside training: boxes [B, Q, 4], logits [B, Q, classes], and no masks."""
    boxes: paddle.Tensor
    logits: paddle.Tensor
    masks: paddle.Tensor | None = None


class Detections(NamedTuple):
    """What post-processing gives: bbox [B * N, 6] (class, score, x1, y1, x2, y2 in pixels), bbox_num [B] (N of each
    image, int32), and no masks."""
    bbox: paddle.Tensor
    bbox_num: paddle.Tensor
    masks: paddle.Tensor | None = None
