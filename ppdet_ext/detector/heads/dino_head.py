# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""DINOHead: hands the decoder's boxes and scores to the loss in training, and to post-processing otherwise."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
from paddle import nn
from ppdet.modeling.shape_spec import ShapeSpec

from ...registry import register_over
from ..outputs import DecoderOutput, HeadOutput


@register_over
class DINOHead(nn.Layer):
    """Has no parameters: boxes and scores are made by the decoder's box and score heads.

    Args:
        loss: called in training.
        eval_idx: which of the decoder's returned layers counts outside training.
    """

    __inject__ = ['loss']

    def __init__(self, loss: Any = 'DINOLoss', eval_idx: int = -1):
        super().__init__()
        self.loss = loss
        self.eval_idx = eval_idx

    @classmethod
    def from_config(cls, cfg: Mapping, hidden_dim: int, nhead: int,
                    input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        """What DETR tells every head; this one needs nothing of it."""
        return {}

    def forward(self, decoded: DecoderOutput, body_feats: Sequence[paddle.Tensor],
                inputs: Mapping[str, Any] = {}) -> dict[str, paddle.Tensor] | HeadOutput:
        """Losses of a batch, or its predictions.

        Args:
            decoded: the transformer's output.
            body_feats: the neck's maps, [B, C, H/stride, W/stride]; not used.
            inputs: in training the batch with gt_bbox (list of [n, 4]) and gt_class (list of [n, 1]).

        Returns:
            in training a dict of loss terms, scalars; else a HeadOutput.
        """
        if not self.training:
            return HeadOutput(decoded.boxes[self.eval_idx], decoded.logits[self.eval_idx])
        boxes, logits, denoising = decoded.boxes, decoded.logits, {}
        if decoded.denoising is not None:
            dn_boxes, boxes = paddle.split(boxes, decoded.denoising.split, axis=2)
            dn_logits, logits = paddle.split(logits, decoded.denoising.split, axis=2)
            denoising = {'dn_out_bboxes': dn_boxes, 'dn_out_logits': dn_logits, 'dn_meta': decoded.denoising}
        boxes = paddle.concat([decoded.encoder_boxes.unsqueeze(0), boxes])
        logits = paddle.concat([decoded.encoder_logits.unsqueeze(0), logits])
        return self.loss(boxes, logits, inputs['gt_bbox'], inputs['gt_class'], **denoising)
