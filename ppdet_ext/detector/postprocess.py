# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From boxes and logits to detections in pixels of the original image."""
from __future__ import annotations

import paddle
import paddle.nn.functional as F

from ..errors import UserError
from ..registry import register_over
from .boxes import cxcywh_to_xyxy
from .outputs import Detections, HeadOutput


@register_over
class DETRPostProcess:
    """Keeps the best ``num_top_queries`` (query, class) pairs of each image.

    Args:
        use_focal_loss: scores are sigmoids per class; else a softmax whose last class is background, one class a query.
        bbox_decode_type: boxes are relative to the image without ('origin') or with padding ('pad').

    Raises:
        UserError: with_mask or dual_queries is asked for, or bbox_decode_type is unknown.
    """

    __shared__ = ['num_classes', 'use_focal_loss', 'with_mask']
    __inject__: list[str] = []

    def __init__(self,
                 num_classes: int = 80,
                 num_top_queries: int = 100,
                 dual_queries: bool = False,
                 dual_groups: int = 0,
                 use_focal_loss: bool = False,
                 with_mask: bool = False,
                 bbox_decode_type: str = 'origin'):
        if with_mask or dual_queries:
            raise UserError("DETRPostProcess: with_mask and dual_queries are not supported here; set them to false")
        if bbox_decode_type not in ('origin', 'pad'):
            raise UserError(f"DETRPostProcess.bbox_decode_type must be origin or pad, got {bbox_decode_type!r}")
        self.num_classes = num_classes
        self.num_top_queries = num_top_queries
        self.use_focal_loss = use_focal_loss
        self.bbox_decode_type = bbox_decode_type

    def __call__(self, head_out: HeadOutput, im_shape: paddle.Tensor, scale_factor: paddle.Tensor,
                 pad_shape: paddle.Tensor) -> Detections:
        """The detections of a batch.

        Args:
            head_out: boxes [B, Q, 4] (cx, cy, w, h in [0, 1]), logits [B, Q, classes], None; a HeadOutput or a tuple.
            im_shape, scale_factor: [B, 2], height and width of the network's input without padding in pixels, and what
                the original's were multiplied by.
            pad_shape: [2] or [B, 2], height and width of the input with padding.

        Returns:
            Detections, in pixels of the original image: bbox [B * N, 6] float32, bbox_num [B] int32, no masks.
        """
        boxes, logits, _ = head_out
        boxes = cxcywh_to_xyxy(boxes.astype('float32')) * self._scale(im_shape, scale_factor, pad_shape)
        scores, labels, query = self.best(logits.astype('float32'))
        boxes = paddle.take_along_axis(boxes, query.unsqueeze(-1).expand([-1, -1, 4]), axis=1)
        found = paddle.concat([labels.astype('float32').unsqueeze(-1), scores.unsqueeze(-1), boxes], axis=-1)
        kept = scores.shape[1]
        count = paddle.full_like(found[:, 0, 0], kept, dtype='int32')
        return Detections(found.reshape([-1, 6]), count)

    def _scale(self, im_shape, scale_factor, pad_shape):
        """[B, 1, 4]: width, height, width, height of the original image (with its share of padding)."""
        height_width = paddle.floor(im_shape / scale_factor + 0.5)
        if self.bbox_decode_type == 'pad':
            height_width = height_width * (pad_shape / im_shape)
        return height_width.flip(1).tile([1, 2]).unsqueeze(1)

    def best(self, logits: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Logits [B, Q, classes] -> scores, labels and query numbers of the kept detections, [B, N] each."""
        queries, classes = logits.shape[1:]
        if self.use_focal_loss:
            kept = min(self.num_top_queries, queries * classes)
            scores, cell = paddle.topk(F.sigmoid(logits).flatten(1), kept, axis=-1)
            return scores, cell % classes, cell // classes
        probability = F.softmax(logits)[:, :, :-1]
        scores, query = paddle.topk(probability.max(-1), min(self.num_top_queries, queries), axis=-1)
        return scores, paddle.take_along_axis(probability.argmax(-1), query, axis=1), query
