# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Bipartite matching of predictions to ground truth (DETR, https://arxiv.org/abs/2005.12872).

The costs are computed in NumPy on single images: no gradient is needed, the assignment runs on the CPU anyway, and
float32 stays float32 under mixed precision.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn as nn
from scipy.optimize import linear_sum_assignment

from ..errors import NotFinite, UserError
from ..registry import register_over, serializable
from .boxes import pairwise_giou

#: one image's assignment: int64 arrays [n] of predictions, and of the boxes they are assigned to
Pairs = tuple[np.ndarray, np.ndarray]


@register_over
@serializable
class HungarianMatcher(nn.Layer):
    """Assigns each ground-truth box the prediction of the least total cost.

    Args:
        matcher_coeff: weights of the class, bbox (L1) and giou costs.
        use_focal_loss: scores are sigmoids (focal-type class cost with alpha and gamma), else softmax probabilities.
        with_mask, num_sample_points: PaddleDetection's settings for masks; not used.
        alpha, gamma: of the focal-type cost.

    Raises:
        UserError: with_mask is set (masks are not part of this project).
    """

    __shared__ = ['use_focal_loss', 'with_mask', 'num_sample_points']

    def __init__(self,
                 matcher_coeff: dict[str, float] = {'class': 1, 'bbox': 5, 'giou': 2},
                 use_focal_loss: bool = False,
                 with_mask: bool = False,
                 num_sample_points: int = 12544,
                 alpha: float = 0.25,
                 gamma: float = 2.0):
        super().__init__()
        if with_mask:
            raise UserError("HungarianMatcher: with_mask is not supported here (boxes only); set with_mask: false")
        self.matcher_coeff = matcher_coeff
        self.use_focal_loss = use_focal_loss
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, boxes: paddle.Tensor, logits: paddle.Tensor, gt_bbox: Sequence[paddle.Tensor],
                gt_class: Sequence[paddle.Tensor], masks: None = None,
                gt_mask: None = None) -> list[tuple[paddle.Tensor, ...]]:
        """Match one layer's predictions.

        Args:
            boxes: [B, Q, 4], cx, cy, w, h in [0, 1].
            logits: [B, Q, classes].
            gt_bbox, gt_class: lists of B tensors [n, 4] and [n, 1].
            masks, gt_mask: PaddleDetection's arguments; not used.

        Returns:
            list of B pairs of int64 tensors [min(Q, n)]: predictions, and the boxes they are assigned to.
        """
        matches = self.match(boxes.unsqueeze(0), logits.unsqueeze(0), gt_bbox, gt_class)[0]
        return [tuple(paddle.to_tensor(i) for i in pair) for pair in matches]

    def match(self, boxes: paddle.Tensor, logits: paddle.Tensor, gt_bbox: Sequence[paddle.Tensor],
              gt_class: Sequence[paddle.Tensor]) -> list[list[Pairs]]:
        """As forward, for all layers at once: boxes [layers, B, Q, 4], logits [layers, B, Q, classes] -> a list per
        layer of lists per image of pairs of int64 arrays."""
        targets = [(b.astype('float32').numpy().reshape(-1, 4), c.numpy().reshape(-1).astype('int64'))
                   for b, c in zip(gt_bbox, gt_class)]
        arrays = (tensor.detach().astype('float32').numpy() for tensor in (boxes, logits))
        return [[self.assign(*image) for image in zip(*layer, targets)] for layer in zip(*arrays)]

    def assign(self, boxes: np.ndarray, logits: np.ndarray, target: tuple[np.ndarray, np.ndarray]) -> Pairs:
        """One image: boxes [Q, 4], logits [Q, classes], and its ground truth, boxes [n, 4] and classes [n] -> Pairs.

        Raises:
            NotFinite: the predictions are.
        """
        gt_boxes, gt_classes = target
        if not len(gt_classes):
            return np.zeros(0, 'int64'), np.zeros(0, 'int64')
        cost = (self.matcher_coeff['class'] * self._class_cost(logits, gt_classes)
                + self.matcher_coeff['bbox'] * np.abs(boxes[:, None] - gt_boxes[None]).sum(-1)
                - self.matcher_coeff['giou'] * pairwise_giou(boxes, gt_boxes))
        if not np.isfinite(cost).all():
            raise NotFinite("predictions became NaN or infinite while matching: the training diverged; lower base_lr, "
                            "lengthen the warm-up or check the data set's boxes")
        return tuple(index.astype('int64') for index in linear_sum_assignment(cost))

    def _class_cost(self, logits, gt_classes):
        if not self.use_focal_loss:
            exponentials = np.exp(logits - logits.max(-1, keepdims=True))
            return -(exponentials / exponentials.sum(-1, keepdims=True))[:, gt_classes]
        prob = 1 / (1 + np.exp(-logits[:, gt_classes].clip(-80)))
        negative = (1 - self.alpha) * prob**self.gamma * -np.log(1 - prob + 1e-8)
        positive = self.alpha * (1 - prob)**self.gamma * -np.log(prob + 1e-8)
        return positive - negative
