# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The DETR architecture: backbone, neck, transformer, head and post-processing, wired by their out_shape."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle
from paddle import nn
from ppdet.modeling.architectures.meta_arch import BaseArch

from ..errors import UserError
from ..registry import build, register_over


@register_over
class DETR(BaseArch):
    """RT-DETR when its parts are RT-DETR's.

    Args:
        backbone, neck, transformer, detr_head: names of registered parts, or mappings with a name and settings.
        post_process: turns the head's output into detections.
        post_process_semi, with_mask: PaddleDetection's settings, for semi-supervised training and masks; not used.
        exclude_post_process: return the head's output as it is.
    """

    __category__ = 'architecture'
    __inject__ = ['post_process']
    __shared__ = ['with_mask', 'exclude_post_process']

    def __init__(self,
                 backbone: nn.Layer,
                 transformer: Any = 'DETRTransformer',
                 detr_head: Any = 'DETRHead',
                 neck: nn.Layer | None = None,
                 post_process: Any = 'DETRPostProcess',
                 post_process_semi: Any = None,
                 with_mask: bool = False,
                 exclude_post_process: bool = False):
        super().__init__()
        self.backbone = backbone
        self.transformer = transformer
        self.detr_head = detr_head
        self.neck = neck
        self.post_process = post_process
        self.with_mask = with_mask
        self.exclude_post_process = exclude_post_process

    @classmethod
    def from_config(cls, cfg: Mapping, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The parts, each made for the shapes that the one before gives."""
        backbone = build(cfg['backbone'])
        _check_channels(backbone)
        neck = build(cfg['neck'], input_shape=backbone.out_shape) if cfg['neck'] else None
        transformer = build(cfg['transformer'], input_shape=(neck or backbone).out_shape)
        head = build(cfg['detr_head'], hidden_dim=transformer.hidden_dim, nhead=transformer.nhead,
                     input_shape=backbone.out_shape)
        return {'backbone': backbone, 'neck': neck, 'transformer': transformer, 'detr_head': head}

    def _forward(self):
        feats = self.backbone(self.inputs)
        if self.neck is not None:
            feats = self.neck(feats)
        # the mask is for PaddleDetection's own transformers, whose readers pad images
        decoded = self.transformer(feats, self.inputs.get('pad_mask'), self.inputs)
        if self.training:
            losses = self.detr_head(decoded, feats, self.inputs)
            losses['loss'] = paddle.add_n([value for name, value in losses.items() if 'log' not in name])
            return losses
        found = self.detr_head(decoded, feats)
        if not self.exclude_post_process:
            image = self.inputs['image']
            pad_shape = paddle.shape(image)[2:].astype('float32')
            found = self.post_process(found, self.inputs['im_shape'], self.inputs['scale_factor'], pad_shape)
        return dict(zip(('bbox', 'bbox_num'), found))

    def get_loss(self) -> dict[str, paddle.Tensor]:
        """Loss terms of a training batch and their sum under 'loss'.

        Raises:
            UserError: the batch has no gt_bbox or gt_class.
        """
        if 'gt_bbox' not in self.inputs or 'gt_class' not in self.inputs:
            raise UserError("training needs gt_bbox and gt_class in every batch; name them in TrainDataset.data_fields "
                            "and keep collate_batch: false in TrainReader")
        return self._forward()

    def get_pred(self) -> dict[str, paddle.Tensor]:
        """Detections of a batch: bbox [N, 6] (class, score, x1, y1, x2, y2 in pixels), bbox_num [B].

        With exclude_post_process they are the head's boxes [B, Q, 4] and logits [B, Q, classes] under the same keys.
        """
        return self._forward()


def _check_channels(backbone):
    """Readers and exported models give RGB; a NamedBackbone makes one channel of it."""
    wanted = getattr(backbone, 'in_chans', 3)
    if wanted in (1, 3) or not isinstance(wanted, int):
        return
    raise UserError(f"{type(backbone).__name__}: in_chans is {wanted}, but pictures are read with 3 channels (RGB); "
                    "write in_chans: 3, or 1 for grey (the mean of the three)")
