# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""DINOHead: passes the decoder's outputs to the loss in training and to the post-processing otherwise."""
import paddle
import paddle.nn as nn

from ..registry import register_over


@register_over
class DINOHead(nn.Layer):
    """Has no parameters: boxes and scores come from the decoder.

    Args:
        loss: called in training.
        eval_idx: which of the decoder's returned layers counts outside training.
    """

    __inject__ = ['loss']

    def __init__(self, loss='DINOLoss', eval_idx=-1):
        super().__init__()
        self.loss = loss
        self.eval_idx = eval_idx

    @classmethod
    def from_config(cls, cfg, hidden_dim, nhead, input_shape):
        return {}

    def forward(self, out_transformer, body_feats, inputs=None):
        """In training a dict of loss terms; else boxes [B, Q, 4] (cx, cy, w, h in [0, 1]), logits [B, Q, classes] and
        None (no masks)."""
        boxes, logits, enc_boxes, enc_logits, dn_meta = out_transformer
        if not self.training:
            return boxes[self.eval_idx], logits[self.eval_idx], None
        denoising = {}
        if dn_meta is not None:
            dn_boxes, boxes = paddle.split(boxes, dn_meta['dn_num_split'], axis=2)
            dn_logits, logits = paddle.split(logits, dn_meta['dn_num_split'], axis=2)
            denoising = {'dn_out_bboxes': dn_boxes, 'dn_out_logits': dn_logits, 'dn_meta': dn_meta}
        boxes = paddle.concat([enc_boxes.unsqueeze(0), boxes])
        logits = paddle.concat([enc_logits.unsqueeze(0), logits])
        return self.loss(boxes, logits, inputs['gt_bbox'], inputs['gt_class'], **denoising)
