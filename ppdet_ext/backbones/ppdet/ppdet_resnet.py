# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The installed ppdet's ResNet with ``freeze_stem_only``, which RT-DETR's official configs set, and ``recompute``."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from ppdet.core.workspace import serializable
from ppdet.modeling.backbones.resnet import ResNet as InstalledResNet

from ...nn import recomputed
from ...registry import register_over


@register_over
@serializable
class ResNet(InstalledResNet):
    """ppdet's ResNet.

    Args:
        freeze_stem_only: freeze_at freezes the stem alone, not the stages up to it (2.6.0 lacks it).
        recompute: while training, run the stages again in the backward pass, for less memory.
    """

    __shared__ = ['norm_type']

    def __init__(self,
                 depth: int = 50,
                 ch_in: int = 64,
                 variant: str = 'b',
                 lr_mult_list: Sequence[float] = [1.0, 1.0, 1.0, 1.0],
                 groups: int = 1,
                 base_width: int = 64,
                 norm_type: str = 'bn',
                 norm_decay: float = 0,
                 freeze_norm: bool = True,
                 freeze_at: int = 0,
                 return_idx: Sequence[int] = [0, 1, 2, 3],
                 dcn_v2_stages: Sequence[int] = [-1],
                 num_stages: int = 4,
                 std_senet: bool = False,
                 freeze_stem_only: bool = False,
                 recompute: bool = False):
        super().__init__(depth, ch_in, variant, lr_mult_list, groups, base_width, norm_type, norm_decay, freeze_norm,
                         -1 if freeze_stem_only else freeze_at, return_idx, dcn_v2_stages, num_stages, std_senet)
        if freeze_stem_only and freeze_at >= 0:
            self._freeze_parameters(self.conv1)
        self.recompute = recompute

    def forward(self, inputs: Mapping[str, Any]) -> list[paddle.Tensor]:
        """ppdet's batch -> list of [B, C, H/stride, W/stride], the stages of ``return_idx``."""
        x = F.max_pool2d(self.conv1(inputs['image']), kernel_size=3, stride=2, padding=1)
        feats = []
        for index, stage in enumerate(self.res_layers):
            x = recomputed(stage, [stage], x) if self.recompute and self.training else stage(x)
            if index in self.return_idx:
                feats.append(x)
        return feats
