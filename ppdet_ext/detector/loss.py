# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Losses of RT-DETR: varifocal (or focal) class loss, L1 and GIoU, for every decoder layer and the denoising queries.

Names of the terms are PaddleDetection's: loss_class, loss_bbox, loss_giou for the last layer, *_aux for the sum over
the layers before it (the encoder's selection among them), *_dn for the denoising queries.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from ..distributed import processes
from ..errors import UserError
from ..registry import register_over
from .boxes import cxcywh_to_xyxy, iou_and_giou
from .matcher import Pairs
from .outputs import DenoisingMeta

TERMS = ('class', 'bbox', 'giou')


def varifocal_loss(logits: paddle.Tensor, score: paddle.Tensor, label: paddle.Tensor, alpha: float = 0.75,
                   gamma: float = 2.0) -> paddle.Tensor:
    """Varifocal loss (https://arxiv.org/abs/2008.13367) per element: positives weigh by their target score (the IoU),
    negatives by alpha * p**gamma.

    Args:
        logits: of any shape.
        score, label: of the same shape, the target scores and 1 for positives, else 0.
        alpha, gamma: see above.

    Returns:
        as logits.
    """
    weight = alpha * F.sigmoid(logits).pow(gamma) * (1 - label) + score * label
    return weight * F.binary_cross_entropy_with_logits(logits, score, reduction='none')


def focal_loss(logits: paddle.Tensor, label: paddle.Tensor, alpha: float = 0.25, gamma: float = 2.0) -> paddle.Tensor:
    """Sigmoid focal loss (https://arxiv.org/abs/1708.02002) per element of logits; labels, 0 or 1, are of its shape."""
    prob = F.sigmoid(logits)
    miss = prob * (1 - label) + (1 - prob) * label
    balance = alpha * label + (1 - alpha) * (1 - label)
    return balance * miss.pow(gamma) * F.binary_cross_entropy_with_logits(logits, label, reduction='none')


@register_over
class DINOLoss(nn.Layer):
    """Set loss of RT-DETR.

    Args:
        matcher: assigns predictions to boxes.
        loss_coeff: weights of the class, bbox and giou terms.
        aux_loss: layers before the last count too.
        use_vfl: varifocal instead of focal class loss.
        use_uni_match, uni_match_ind: the layers before the last share one matching, that of layer uni_match_ind.

    Raises:
        UserError: use_focal_loss is false, or vfl_iou_type asks for masks.
    """

    __shared__ = ['num_classes', 'use_focal_loss']
    __inject__ = ['matcher']

    def __init__(self,
                 num_classes: int = 80,
                 matcher: Any = 'HungarianMatcher',
                 loss_coeff: dict[str, float] = {'class': 1, 'bbox': 5, 'giou': 2},
                 aux_loss: bool = True,
                 use_focal_loss: bool = False,
                 use_vfl: bool = False,
                 vfl_iou_type: str = 'bbox',
                 use_uni_match: bool = False,
                 uni_match_ind: int = 0):
        super().__init__()
        if not use_focal_loss:
            raise UserError("DINOLoss needs sigmoid scores; set use_focal_loss: true at the top level of the config")
        if vfl_iou_type != 'bbox':
            raise UserError(f"DINOLoss.vfl_iou_type must be bbox, got {vfl_iou_type!r} (masks are not supported here)")
        self.num_classes = num_classes
        self.matcher = matcher
        self.loss_coeff = loss_coeff
        self.aux_loss = aux_loss
        self.use_vfl = use_vfl
        self.use_uni_match = use_uni_match
        self.uni_match_ind = uni_match_ind

    def forward(self, boxes: paddle.Tensor, logits: paddle.Tensor, gt_bbox: Sequence[paddle.Tensor],
                gt_class: Sequence[paddle.Tensor], dn_out_bboxes: paddle.Tensor | None = None,
                dn_out_logits: paddle.Tensor | None = None,
                dn_meta: DenoisingMeta | None = None) -> dict[str, paddle.Tensor]:
        """All terms, weighted, for a batch.

        Args:
            boxes, logits: [layers, B, Q, 4] (cx, cy, w, h in [0, 1]) and [layers, B, Q, classes].
            gt_bbox, gt_class: lists of B tensors [n, 4] and [n, 1].
            dn_out_bboxes, dn_out_logits, dn_meta: the same for the denoising queries, and how they were made.

        Returns:
            dict of scalars; terms of denoising are zero where there was none.
        """
        # no half precision in here: the sums run over thousands of small terms, the IoU divides small areas, and a
        # matching that rounding decides flips from step to step; inputs are made float32 where they are used
        with paddle.amp.auto_cast(enable=False):
            num_gts = self._num_gts(gt_class)
            matches = self.match(boxes, logits, gt_bbox, gt_class)
            losses = self._weighted(boxes, logits, gt_bbox, gt_class, matches, num_gts)
            if dn_meta is None or dn_out_bboxes is None:
                return {**losses, **{name + '_dn': paddle.zeros([]) for name in losses}}
            matches = [_denoising_matches(dn_meta, gt_class)] * len(dn_out_bboxes)
            return {**losses, **self._weighted(dn_out_bboxes, dn_out_logits, gt_bbox, gt_class, matches,
                                               num_gts * dn_meta.groups, '_dn')}

    def match(self, boxes: paddle.Tensor, logits: paddle.Tensor, gt_bbox: Sequence[paddle.Tensor],
              gt_class: Sequence[paddle.Tensor]) -> list[list[Pairs]]:
        """Which prediction stands for which box, layer by layer and image by image; arguments as in forward.

        With use_uni_match the layers before the last share the matching of layer uni_match_ind.
        """
        if not self.use_uni_match:
            return self.matcher.match(boxes, logits, gt_bbox, gt_class)
        shared = self.matcher.match(boxes[:-1][self.uni_match_ind].unsqueeze(0),
                                    logits[:-1][self.uni_match_ind].unsqueeze(0), gt_bbox, gt_class)
        return shared * (len(boxes) - 1) + self.matcher.match(boxes[-1:], logits[-1:], gt_bbox, gt_class)

    def _num_gts(self, gt_class):
        """Boxes of the whole batch (at least one) per process: gradients averaged over the processes are then those of
        one process with all images. (DETR takes the larger of the average and one, which differs for very few boxes.)
        """
        boxes = processes.all_reduce_sum(paddle.to_tensor([float(sum(len(c) for c in gt_class))]))
        return max(float(boxes), 1.0) / processes.count()

    def _weighted(self, boxes, logits, gt_bbox, gt_class, matches, num_gts, postfix=''):
        """Terms by their names: of the last layer, and the sum over those before it."""
        per_layer = self._layer_losses(boxes, logits, gt_bbox, gt_class, matches)
        scaled = {term: per_layer[term] * (self.loss_coeff[term] / num_gts) for term in TERMS}
        losses = {f'loss_{term}{postfix}': value[-1] for term, value in scaled.items()}
        if self.aux_loss and len(boxes) > 1:
            losses.update({f'loss_{term}_aux{postfix}': value[:-1].sum() for term, value in scaled.items()})
        return losses

    def _layer_losses(self, boxes, logits, gt_bbox, gt_class, matches):
        """Sums over each layer of the three terms, {term: [layers]}, before weights and normalisation.

        All layers are computed together: matched predictions are picked from the flattened [layers * B * Q] rows. In
        float32, since the sums run over thousands of terms and the IoU divides small areas.
        """
        layers, batch, queries, classes = logits.shape
        logits = logits.astype('float32').reshape([-1, classes])
        rows, targets = _flat_indices(matches, [len(c) for c in gt_class], batch, queries)
        if not len(rows):
            zero = boxes.astype('float32').sum() * 0.0 + paddle.zeros([layers])
            return {'class': self._class_loss(logits, None, None, None, layers), 'bbox': zero, 'giou': zero}

        index = paddle.to_tensor(rows)
        gt_boxes = np.concatenate([b.astype('float32').numpy().reshape(-1, 4) for b in gt_bbox])
        gt_boxes = paddle.to_tensor(gt_boxes[targets])
        labels = np.concatenate([c.numpy().reshape(-1) for c in gt_class])[targets].astype('int64')
        predicted = paddle.gather(boxes.astype('float32').reshape([-1, 4]), index)
        iou, giou = iou_and_giou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(gt_boxes))
        return {
            'class': self._class_loss(logits, rows, labels, iou.detach(), layers),
            'bbox': (predicted - gt_boxes).abs().sum(-1).reshape([layers, -1]).sum(-1),
            'giou': (1 - giou).reshape([layers, -1]).sum(-1),
        }

    def _class_loss(self, logits, rows, labels, iou, layers):
        """Class loss summed per layer, [layers]; rows are matched to labels with an overlap of iou."""
        classes = logits.shape[-1]
        flat = paddle.zeros([logits.shape[0] * classes])
        label = score = flat.reshape(logits.shape)
        if rows is not None:
            cells = paddle.to_tensor(rows * classes + labels)
            label = paddle.scatter(flat, cells, paddle.ones([len(rows)])).reshape(logits.shape)
            score = paddle.scatter(flat, cells, iou).reshape(logits.shape)
        loss = varifocal_loss(logits, score, label) if self.use_vfl else focal_loss(logits, label)
        # in two steps: Paddle's float32 sum on a CPU loses digits over tens of thousands of terms at once
        return loss.sum(-1).reshape([layers, -1]).sum(-1)


def _denoising_matches(meta, gt_class) -> list[Pairs]:
    """The boxes that the positive denoising queries were made from."""
    return [(queries, np.tile(np.arange(len(classes)), meta.groups))
            for queries, classes in zip(meta.positives, gt_class)]


def _flat_indices(matches, counts, batch, queries):
    """Rows of the flattened [layers * B * Q] predictions and of the concatenated boxes, layer after layer."""
    starts = np.concatenate([[0], np.cumsum(counts)]).astype('int64')
    rows, targets = [np.zeros(0, 'int64')], [np.zeros(0, 'int64')]
    for layer, images in enumerate(matches):
        for image, (source, target) in enumerate(images):
            rows.append(source + (layer * batch + image) * queries)
            targets.append(target + starts[image])
    return np.concatenate(rows), np.concatenate(targets)
