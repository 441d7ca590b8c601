# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the backbones under PaddleDetection's names share: features of a batch, frozen parts, weights to start from."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
from paddle import nn
from ppdet.modeling.shape_spec import ShapeSpec

from ...errors import UserError, nearest
from ...kernels.transpose import transposed
from ...nn import recomputed
from ...registry.weights_wanted import weights_wanted
from ...weights import source
from ...weights.load_report import load_into

STRIDES = (4, 8, 16, 32)


def chosen(where: str, arch: str, table: Mapping[str, Any]) -> Any:
    """The entry of a table of archs.

    Raises:
        UserError: there is none of that name.
    """
    if arch not in table:
        raise UserError(f"{where}: there is no arch {arch!r}{nearest(arch, table) or '; it takes ' + ', '.join(table)}")
    return table[arch]


def image_of(inputs: Mapping[str, Any] | paddle.Tensor) -> paddle.Tensor:
    """ppdet's batch (a dict with 'image') or an image -> the image."""
    return inputs["image"] if isinstance(inputs, Mapping) else inputs


def shapes_of(channels: Sequence[int], indices: Sequence[int]) -> list[ShapeSpec]:
    """ShapeSpec of the stages at ``indices``, whose strides are 4, 8, 16, 32."""
    return [ShapeSpec(channels=channels[index], stride=STRIDES[index]) for index in indices]


def freeze(*layers: nn.Layer) -> None:
    """Take the layers' parameters out of training."""
    for layer in layers:
        for parameter in layer.parameters():
            parameter.stop_gradient = True


def start_from(layer: nn.Layer, spec: bool | str, url: str, new: Sequence[str] = ()) -> None:
    """Fill a backbone with weights of a classifier; what the classifier has beside it is left.

    Args:
        spec: false (nothing is loaded, as inside ``without_pretrained``), true (``url``), or a path or URL.
        new: patterns of parameters that a classifier does not have.

    Raises:
        UserError: the file cannot be had, or does not hold every other parameter.
    """
    if not spec or not weights_wanted():
        return
    checkpoint = source.read(url if spec is True else spec)
    own = layer.state_dict()
    state = {name: value for name, value in checkpoint.state.items() if name in own}
    load_into(layer, state, allow=tuple(new), source=checkpoint.source)


class Stage(nn.Layer):
    """Blocks on maps [B, H, W, C]; the next stage's input is made by ``downsample`` (None in the last stage)."""

    def __init__(self, blocks: Sequence[nn.Layer], downsample: nn.Layer | None):
        super().__init__()
        self.blocks = nn.LayerList(blocks)
        self.downsample = downsample


class StagedBackbone(nn.Layer):
    """Base of SwinTransformer and FocalNet: stages of blocks on [B, H, W, C], a LayerNorm for each feature.

    A subclass makes ``patch_embed`` and appends Stages to ``layers``.

    Args:
        dim: channels of the first stage, doubled in each.
        stages: their number.
        out_indices: stages whose features are returned.
        use_checkpoint: recompute blocks in the backward pass.
    """

    def __init__(self, dim: int, stages: int, out_indices: Sequence[int], use_checkpoint: bool):
        super().__init__()
        self.channels = [dim * 2 ** index for index in range(stages)]
        self.out_indices = list(out_indices)
        self.use_checkpoint = use_checkpoint
        self.layers = nn.LayerList()
        for index in self.out_indices:
            self.add_sublayer(f"norm{index}", nn.LayerNorm(self.channels[index]))

    @property
    def out_shape(self) -> list[ShapeSpec]:
        return shapes_of(self.channels, self.out_indices)

    @property
    def feature_norms(self) -> list[str]:
        """Patterns of what a classifier's weights lack."""
        return [f"norm{index}.*" for index in self.out_indices]

    def freeze_stages(self, frozen_stages: int) -> None:
        """-1 nothing, 0 the patch embedding, k >= 2 also the first k - 1 stages (PaddleDetection's counting)."""
        if frozen_stages >= 0:
            freeze(self.patch_embed, *list(self.layers)[:max(frozen_stages - 1, 0)])

    def run_stages(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """Map [B, H/4, W/4, C] -> list of features [B, C, H/stride, W/stride]."""
        features = {}
        for index, stage in enumerate(self.layers):
            for block in stage.blocks:
                x = recomputed(block, [block], x) if self.use_checkpoint and self.training else block(x)
            if index in self.out_indices:
                features[index] = transposed(getattr(self, f"norm{index}")(x), [0, 3, 1, 2])
            if stage.downsample is not None:
                x = stage.downsample(x)
        return [features[index] for index in self.out_indices]
