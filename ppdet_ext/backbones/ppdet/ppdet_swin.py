# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""SwinTransformer under PaddleDetection's parameter names, as develop has it.

Develop's is ppdet/modeling/backbones/swin_transformer.py; 2.6.0's has no archs and pads maps along the wrong axes.

Blocks are swin.py's. What differs: maps are padded before they are rolled, every stage keeps the full window, a stage
ends with the merging that timm's next one begins with, and each feature has a LayerNorm.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F
from ppdet.core.workspace import serializable

from ...nn import attend_in_windows, small_weights
from ...registry import register_over
from ..swin import PATCH, Block, PatchEmbed, PatchMerging
from .common import Stage, StagedBackbone, chosen, image_of, start_from

_URL = "https://bj.bcebos.com/v1/paddledet/models/pretrained/swin_{}_22kto1k_pretrained.pdparams"


def _arch(dim, depths, heads, side, window, size):
    file = f"{size}_patch4_window{window}_{side}"
    return dict(pretrain_img_size=side, embed_dim=dim, depths=depths, num_heads=heads, window_size=window,
                url=_URL.format(file))


SHALLOW, DEEP = [2, 2, 6, 2], [2, 2, 18, 2]
ARCHS = {
    "swin_T_224": _arch(96, SHALLOW, [3, 6, 12, 24], 224, 7, "tiny"),
    "swin_S_224": _arch(96, DEEP, [3, 6, 12, 24], 224, 7, "small"),
    "swin_B_224": _arch(128, DEEP, [4, 8, 16, 32], 224, 7, "base"),
    "swin_L_224": _arch(192, DEEP, [6, 12, 24, 48], 224, 7, "large"),
    "swin_B_384": _arch(128, DEEP, [4, 8, 16, 32], 384, 12, "base"),
    "swin_L_384": _arch(192, DEEP, [6, 12, 24, 48], 384, 12, "large"),
}


class PaddedBlock(Block):
    """A block that pads the map to whole windows before rolling it."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        attended = attend_in_windows(self.attn, self.norm1(x), self.window, self.shift, pad_first=True)
        x = x + self.drop_path1(attended)
        return x + self.drop_path2(self.mlp(self.norm2(x)))


@register_over
@serializable
class SwinTransformer(StagedBackbone):
    """Features of the four stages, at strides 4, 8, 16, 32, for images of any size.

    Args:
        arch (str): a key of ARCHS, which gives pretrain_img_size, embed_dim, depths, num_heads and window_size where
            they are not given.
        drop_path_rate (float): stochastic depth of the last block.
        ape (bool): absolute position embedding.
        patch_norm (bool): LayerNorm after the patch embedding.
        out_indices (list): stages whose features are returned.
        frozen_stages (int): -1 freezes nothing, 0 the patch embedding, k >= 2 also the first k - 1 stages.
        pretrained (bool|str): true (ImageNet weights of the arch), false, or a path or URL. Unlike develop's, false is
            the default: the config's pretrain_weights has the backbone.
        use_checkpoint (bool): recompute blocks in the backward pass, for less memory.

    Raises:
        UserError: unknown arch, or weights that cannot be had or do not fit.
    """

    def __init__(self,
                 arch: str = 'swin_T_224',
                 pretrain_img_size: int | None = None,
                 embed_dim: int | None = None,
                 depths: Sequence[int] | None = None,
                 num_heads: Sequence[int] | None = None,
                 window_size: int | None = None,
                 drop_path_rate: float = 0.2,
                 ape: bool = False,
                 patch_norm: bool = True,
                 out_indices: Sequence[int] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 pretrained: bool | str = False,
                 use_checkpoint: bool = False):
        given: dict[str, Any] = dict(pretrain_img_size=pretrain_img_size, embed_dim=embed_dim, depths=depths,
                                     num_heads=num_heads, window_size=window_size)
        known = chosen("SwinTransformer", arch, ARCHS)
        sizes = {name: known[name] if value is None else value for name, value in given.items()}
        dim = sizes["embed_dim"]
        super().__init__(dim, len(sizes["depths"]), out_indices, use_checkpoint)
        self.patch_embed = PatchEmbed(3, dim)
        if not patch_norm:
            self.patch_embed.norm = nn.Identity()  # type: ignore[assignment]  # a layer of any kind
        self.absolute_pos_embed: paddle.Tensor | None = None
        if ape:
            side = sizes["pretrain_img_size"] // PATCH
            self.absolute_pos_embed = self.create_parameter([1, dim, side, side], small_weights())
        self.layers.extend(self._make_stages(sizes, drop_path_rate))
        start_from(self, pretrained, known["url"], new=self.feature_norms)
        self.freeze_stages(frozen_stages)
        if frozen_stages >= 1 and self.absolute_pos_embed is not None:
            self.absolute_pos_embed.stop_gradient = True

    def _make_stages(self, sizes, drop_path_rate):
        depths, window = sizes["depths"], sizes["window_size"]
        rates = [drop_path_rate * block / (sum(depths) - 1) for block in range(sum(depths))]
        for index, (dim, depth, heads) in enumerate(zip(self.channels, depths, sizes["num_heads"])):
            first = sum(depths[:index])
            yield Stage([PaddedBlock(dim, heads, window, window // 2 if block % 2 else 0, rates[first + block])
                         for block in range(depth)], PatchMerging(dim) if index + 1 < len(depths) else None)

    def forward(self, inputs: Mapping[str, Any] | paddle.Tensor) -> list[paddle.Tensor]:
        """ppdet's batch or an image [B, 3, H, W] -> list of [B, C, ceil(H/stride), ceil(W/stride)]."""
        return self.run_stages(self._embed(image_of(inputs)))

    def _embed(self, image):
        """Image -> map [B, H/4, W/4, C]."""
        x = self.patch_embed(image)
        if self.absolute_pos_embed is None:
            return x
        size = [x.shape[1], x.shape[2]] if paddle.in_dynamic_mode() else paddle.shape(x)[1:3]
        return x + F.interpolate(self.absolute_pos_embed, size=size, mode="bicubic").transpose([0, 2, 3, 1])
