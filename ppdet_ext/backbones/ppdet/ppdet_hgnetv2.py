# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""PPHGNetV2 under PaddleDetection's parameter names.

They are those of develop's ppdet/modeling/backbones/hgnet_v2.py, which 2.6.0 lacks. The network is hgnetv2.py's; what
differs is two names and the border of one pooling.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import paddle
from paddle import nn
from ppdet.core.workspace import serializable
from ppdet.modeling.shape_spec import ShapeSpec

from ...errors import UserError
from ...nn import recomputed
from ...nn.norms import batch_norms
from ...registry import register_over
from ..hgnetv2 import STAGE_KINDS, VARIANTS, Affine, Block, Stem, make_stage
from .common import chosen, freeze, image_of, shapes_of

#: PaddleDetection's name -> timm's
ARCHS = {"S": "hgnetv2_b1", "M": "hgnetv2_b2", "L": "hgnetv2_b4", "X": "hgnetv2_b5", "H": "hgnetv2_b6"}

# the learnt scales and biases after activations move at this share of their stage's rate
AFFINE_RATE = 0.01


class NamedBlock(Block):
    """A block whose two last convolutions have PaddleDetection's names."""

    def _add_aggregation(self, squeeze, excitation):
        self.aggregation_squeeze_conv, self.aggregation_excitation_conv = squeeze, excitation

    def aggregate(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.aggregation_excitation_conv(self.aggregation_squeeze_conv(x))


class PooledStem(Stem):
    """A stem whose pooling leaves what lies beyond the border out."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.pool = nn.MaxPool2D(2, stride=1, padding="SAME")

    def pooled(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.pool(x)


@register_over
@serializable
class PPHGNetV2(nn.Layer):
    """Features of stages 0 to 3, at strides 4, 8, 16, 32.

    Args:
        arch (str): S, M, L, X or H.
        use_lab (bool): a learnt scale and bias after each activation.
        lr_mult_list (list): factor on the learning rate of the stem and of the four stages.
        return_idx (list): stages whose features are returned.
        freeze_stem_only (bool): freeze_at >= 0 freezes the stem alone.
        freeze_at (int): -1 freezes nothing, k the stem and stages 0 to k.
        freeze_norm (bool): weights, biases and statistics of every BatchNorm stay as they are.
        recompute (bool): while training, run the stages again in the backward pass, for less memory.

    Raises:
        UserError: unknown arch, or lr_mult_list has not five entries.
    """

    def __init__(self,
                 arch: str,
                 use_lab: bool = False,
                 lr_mult_list: Sequence[float] = [1.0, 1.0, 1.0, 1.0, 1.0],
                 return_idx: Sequence[int] = [1, 2, 3],
                 freeze_stem_only: bool = True,
                 freeze_at: int = 0,
                 freeze_norm: bool = True,
                 recompute: bool = False):
        super().__init__()
        variant = VARIANTS[chosen("PPHGNetV2", arch, ARCHS)]
        if len(lr_mult_list) != 5:
            raise UserError(f"PPHGNetV2: lr_mult_list is {lr_mult_list}; give five factors, one for the stem and "
                            "one for each stage")
        self.return_idx = return_idx
        self.freeze_norm = freeze_norm
        self.recompute = recompute
        self.channels = [out_chs for _, out_chs, _ in variant["stages"]]
        self.stem = PooledStem(3, *variant["stem"], affine=use_lab)
        self.stages = nn.LayerList(self._make_stages(variant, use_lab))
        self._set_rates(lr_mult_list)
        if freeze_at >= 0:
            freeze(self.stem, *([] if freeze_stem_only else list(self.stages)[:freeze_at + 1]))
        if freeze_norm:
            freeze(*batch_norms(self))

    @staticmethod
    def _make_stages(variant: Mapping[str, Any], affine: bool) -> Iterator[nn.Layer]:
        inputs = [variant["stem"][1], *(out_chs for _, out_chs, _ in variant["stages"])]
        for index, (mid_chs, out_chs, depth) in enumerate(variant["stages"]):
            kernel_size, light = STAGE_KINDS[index]
            yield make_stage(inputs[index], out_chs, 1 if index == 0 else 2, [0.0] * depth, NamedBlock, affine=affine,
                             mid_chs=mid_chs, layers=variant["layers"], kernel_size=kernel_size, light=light)

    def _set_rates(self, factors):
        for part, factor in zip((self.stem, *self.stages), factors):
            for layer in part.sublayers():
                own = AFFINE_RATE if isinstance(layer, Affine) else 1.0
                for parameter in layer.parameters(include_sublayers=False):
                    parameter.optimize_attr["learning_rate"] = own * factor

    @property
    def out_shape(self) -> list[ShapeSpec]:
        return shapes_of(self.channels, self.return_idx)

    def forward(self, inputs: Mapping[str, Any] | paddle.Tensor) -> list[paddle.Tensor]:
        """ppdet's batch or an image [B, 3, H, W] -> list of [B, C, H/stride, W/stride]."""
        if self.training and self.freeze_norm:
            # looked up each time: Layer.train() and SyncBatchNorm's conversion take the flag back
            for norm in batch_norms(self):
                norm.training = False
        x, features = self.stem(image_of(inputs)), []
        for stage in self.stages:
            x = recomputed(stage, [stage], x) if self.recompute and self.training else stage(x)
            features.append(x)
        return [features[index] for index in self.return_idx]
