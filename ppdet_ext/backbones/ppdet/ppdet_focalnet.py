# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""FocalNet (Yang et al. 2022, arXiv:2203.11926) under PaddleDetection's parameter names.

They are those of develop's ppdet/modeling/backbones/focalnet.py, which 2.6.0 lacks. Inside, maps are [B, H, W, C].
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
from paddle import nn
from ppdet.core.workspace import serializable

from ...kernels.transpose import transposed
from ...nn import Mlp, drop_path, linear, pad_image
from ...registry import register_over
from .common import Stage, StagedBackbone, chosen, image_of, start_from

_URL = "https://bj.bcebos.com/v1/paddledet/models/pretrained/focalnet_{}_pretrained.pdparams"
GROWTH = 2  # a level's window is this much wider than the one before
LAYER_SCALE = 1e-4
SWITCHES = ("post_norm", "layer_scale", "norm_in_modulation", "mean_of_levels")


def _small(dim, depth, levels, drop_path_rate, file):
    return dict(dim=dim, depths=[2, 2, depth, 2], levels=levels, window=3, drop_path_rate=drop_path_rate,
                url=_URL.format(file))


def _large(dim, levels, window, file, **switches):
    """Overlapping embeddings, LayerNorm after each branch, learnt scales of the branches."""
    return dict(dim=dim, depths=[2, 2, 18, 2], levels=levels, window=window, drop_path_rate=0.5, url=_URL.format(file),
                conv_embed=True, post_norm=True, layer_scale=True, **switches)


ARCHS = {
    "focalnet_T_224_1k_srf": _small(96, 6, 2, 0.2, "tiny_srf"),
    "focalnet_S_224_1k_srf": _small(96, 18, 2, 0.3, "small_srf"),
    "focalnet_B_224_1k_srf": _small(128, 18, 2, 0.5, "base_srf"),
    "focalnet_T_224_1k_lrf": _small(96, 6, 3, 0.2, "tiny_lrf"),
    "focalnet_S_224_1k_lrf": _small(96, 18, 3, 0.3, "small_lrf"),
    "focalnet_B_224_1k_lrf": _small(128, 18, 3, 0.5, "base_lrf"),
    "focalnet_L_384_22k_fl3": _large(192, 3, 5, "large_lrf_384"),
    "focalnet_L_384_22k_fl4": _large(192, 4, 3, "large_lrf_384_fl4", mean_of_levels=True),
    "focalnet_XL_384_22k_fl3": _large(256, 3, 5, "xlarge_lrf_384"),
    "focalnet_XL_384_22k_fl4": _large(256, 4, 3, "xlarge_lrf_384_fl4"),
    "focalnet_H_224_22k_fl3": _large(352, 3, 3, "huge_lrf_224", norm_in_modulation=True),
    "focalnet_H_224_22k_fl4": _large(352, 4, 3, "huge_lrf_224_fl4", norm_in_modulation=True),
}


class FocalModulation(nn.Layer):
    """Each position times a gated sum of its surroundings, seen through ever wider windows and as a whole.

    Args:
        dim: channels.
        levels, window: number of windows, and the first one's side.
        norm: LayerNorm before the projection.
        mean_of_levels: the sum over the levels becomes their mean.
    """

    def __init__(self, dim: int, levels: int, window: int, norm: bool, mean_of_levels: bool):
        super().__init__()
        self.split = [dim, dim, levels + 1]
        self.share = 1.0 / (levels + 1) if mean_of_levels else 1.0
        self.f = linear(dim, sum(self.split))
        self.h = nn.Conv2D(dim, dim, 1)
        self.act = nn.GELU()
        self.proj = linear(dim, dim)
        self.focal_layers = nn.LayerList([
            nn.Sequential(nn.Conv2D(dim, dim, size, padding=size // 2, groups=dim, bias_attr=False), nn.GELU())
            for size in range(window, window + GROWTH * levels, GROWTH)])
        if norm:
            self.ln = nn.LayerNorm(dim)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        query, context, gates = transposed(self.f(x), [0, 3, 1, 2]).split(self.split, axis=1)
        each, total = gates.split(self.split[-1], axis=1), 0
        for layer, gate in zip(self.focal_layers, each):
            context = layer(context)
            total = total + context * gate
        total = total + self.act(context.mean([2, 3], keepdim=True)) * each[-1]
        x = transposed(query * self.h(total * self.share), [0, 2, 3, 1])
        return self.proj(self.ln(x) if hasattr(self, "ln") else x)


class Block(nn.Layer):
    """Modulation, then a perceptron, each with a skip; LayerNorm before the branches, or after (``post_norm``)."""

    def __init__(self, dim: int, drop_rate: float, levels: int, window: int, post_norm: bool, layer_scale: float,
                 norm_in_modulation: bool, mean_of_levels: bool):
        super().__init__()
        self.post_norm = post_norm
        self.norm1 = nn.LayerNorm(dim)
        self.modulation = FocalModulation(dim, levels, window, norm_in_modulation, mean_of_levels)
        self.drop_path = drop_path(drop_rate)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)
        start = nn.initializer.Constant(LAYER_SCALE)
        self.gamma_1, self.gamma_2 = (
            self.create_parameter([dim], default_initializer=start) if layer_scale else 1.0 for _ in range(2))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x + self.drop_path(self.gamma_1 * self._branch(self.norm1, self.modulation, x))
        return x + self.drop_path(self.gamma_2 * self._branch(self.norm2, self.mlp, x))

    def _branch(self, norm, layer, x):
        return norm(layer(x)) if self.post_norm else layer(norm(x))


class Embed(nn.Layer):
    """[B, in_chs, H, W], padded with zeros to multiples of the stride -> [B, H/stride, W/stride, out_chs].

    Args:
        overlapping: (kernel size, padding) of overlapping patches; None where they are as large as the stride.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int, overlapping: tuple[int, int] | None, norm: bool = True):
        super().__init__()
        self.stride = stride
        kernel_size, padding = overlapping or (stride, 0)
        self.proj = nn.Conv2D(in_chs, out_chs, kernel_size, stride, padding)
        self.norm = nn.LayerNorm(out_chs) if norm else nn.Identity()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.norm(transposed(self.proj(pad_image(x, self.stride)), [0, 2, 3, 1]))


class Downsample(Embed):
    """An ``Embed`` from map to map."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return super().forward(transposed(x, [0, 3, 1, 2]))


@register_over
@serializable
class FocalNet(StagedBackbone):
    """Features of the four stages, at strides 4, 8, 16, 32, for images of any size.

    Args:
        arch (str): a key of ARCHS.
        out_indices (list): stages whose features are returned.
        frozen_stages (int): -1 freezes nothing, 0 the patch embedding, k >= 2 also the first k - 1 stages.
        drop_path_rate (float): stochastic depth of the last block; None is the arch's own.
        patch_norm (bool): LayerNorm after the patch embeddings.
        pretrained (bool|str): true (ImageNet weights of the arch), false, or a path or URL. Unlike develop's, false is
            the default: the config's pretrain_weights has the backbone.
        use_checkpoint (bool): recompute blocks in the backward pass, for less memory.

    Raises:
        UserError: unknown arch, or weights that cannot be had or do not fit.
    """

    def __init__(self,
                 arch: str = 'focalnet_T_224_1k_srf',
                 out_indices: Sequence[int] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 drop_path_rate: float | None = None,
                 patch_norm: bool = True,
                 pretrained: bool | str = False,
                 use_checkpoint: bool = False):
        variant = dict(chosen("FocalNet", arch, ARCHS))
        url, dim, depths = (variant.pop(name) for name in ("url", "dim", "depths"))
        overlapping = variant.pop("conv_embed", False)
        own_rate = variant.pop("drop_path_rate")
        super().__init__(dim, len(depths), out_indices, use_checkpoint)
        block = {**dict.fromkeys(SWITCHES, False), **variant}
        self.patch_embed = Embed(3, dim, 4, (7, 2) if overlapping else None, patch_norm)
        rates: Any = paddle.linspace(0, own_rate if drop_path_rate is None else drop_path_rate, sum(depths)).tolist()
        for index, depth in enumerate(depths):
            chs, first = self.channels[index], sum(depths[:index])
            down = Downsample(chs, 2 * chs, 2, (3, 1) if overlapping else None) if index + 1 < len(depths) else None
            self.layers.append(Stage([Block(chs, rate, **block) for rate in rates[first:first + depth]], down))
        start_from(self, pretrained, url, new=self.feature_norms)
        self.freeze_stages(frozen_stages)

    def forward(self, inputs: Mapping[str, Any] | paddle.Tensor) -> list[paddle.Tensor]:
        """ppdet's batch or an image [B, 3, H, W] -> list of [B, C, ceil(H/stride), ceil(W/stride)]."""
        return self.run_stages(self.patch_embed(image_of(inputs)))
