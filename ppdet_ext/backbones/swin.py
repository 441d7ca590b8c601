# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Swin Transformer (Liu et al. 2021, arXiv:2103.14030) as in timm, for images of any size."""
from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from ..kernels.transpose import transposed
from ..nn import Mlp, attend_in_windows, drop_path, linear, pad_image, pad_map, relative_positions, small_weights
from .features import FeatureNet, Step
from .model_registry import register_model

PATCH = 4


class WindowAttention(nn.Layer):
    """Attention among the N pixels of a window, with a bias for each offset between two pixels; V1's and V2's base.

    A subclass owns ``qkv`` and says how queries and keys meet (``logits``) and what the biases are (``offset_biases``).

    Args:
        dim, heads: channels, and the heads that share them.
        window: its side; N is its square.
    """

    def __init__(self, dim: int, heads: int, window: int):
        super().__init__()
        self.heads, self.pixels = heads, window * window
        index = paddle.to_tensor(relative_positions(window))
        self.register_buffer("relative_position_index", index, persistable=False)
        self.proj = linear(dim, dim)

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor | None = None) -> paddle.Tensor:
        """Windows [B, windows, N, C] and an addend [windows, 1, N, N] to the logits -> as x."""
        q, k, v = self._split_heads(self.project(x))
        x = transposed(paddle.matmul(F.softmax(self.logits(q, k) + self._bias(mask)), v), [0, 1, 3, 2, 4])
        return self.proj(x.reshape([0, 0, self.pixels, self.heads * x.shape[-1]]))

    def project(self, x: paddle.Tensor) -> paddle.Tensor:
        """[..., C] -> queries, keys and values side by side, [..., 3 * C]."""
        return self.qkv(x)

    def logits(self, q: paddle.Tensor, k: paddle.Tensor) -> paddle.Tensor:
        """Queries and keys [..., N, C / heads] -> [..., N, N]."""
        raise NotImplementedError

    def offset_biases(self) -> paddle.Tensor:
        """[offsets, heads]."""
        raise NotImplementedError

    def _split_heads(self, qkv):
        """[B, windows, N, 3 * C] -> query, key and value, each [B, windows, heads, N, C / heads]."""
        qkv = qkv.reshape([0, 0, self.pixels, 3, self.heads, qkv.shape[-1] // (3 * self.heads)])
        return transposed(qkv, [3, 0, 1, 4, 2, 5]).unbind(0)

    def _bias(self, mask):
        """[heads, N, N], or with a mask [windows, heads, N, N]."""
        # Layer.to(dtype) makes floats of integer buffers, too
        bias = F.embedding(self.relative_position_index.astype("int64"), self.offset_biases())
        bias = transposed(bias.reshape([self.pixels, self.pixels, self.heads]), [2, 0, 1])
        if mask is None:
            return bias
        # a copy for each head: Paddle adds [windows, 1, N, N] to more heads than one ten times slower
        return mask.astype(bias.dtype).tile([1, self.heads, 1, 1]) + bias


class DotAttention(WindowAttention):
    """Scaled products; the biases are parameters."""

    def __init__(self, dim: int, heads: int, window: int):
        super().__init__(dim, heads, window)
        self.scale = (dim // heads) ** -0.5
        self.qkv = linear(dim, 3 * dim)
        self.relative_position_bias_table = self.create_parameter([(2 * window - 1) ** 2, heads], small_weights())

    def logits(self, q: paddle.Tensor, k: paddle.Tensor) -> paddle.Tensor:
        return paddle.matmul(q * self.scale, k, transpose_y=True)

    def offset_biases(self) -> paddle.Tensor:
        return self.relative_position_bias_table


class Block(nn.Layer):
    """LayerNorm before windowed attention and before the perceptron, each with a skip; on [B, H, W, C]."""

    ATTENTION: type[WindowAttention] = DotAttention

    def __init__(self, dim: int, heads: int, window: int, shift: int, drop_rate: float):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = self.ATTENTION(dim, heads, window)
        self.drop_path1 = drop_path(drop_rate)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)
        self.drop_path2 = drop_path(drop_rate)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x + self.drop_path1(attend_in_windows(self.attn, self.norm1(x), self.window, self.shift))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Layer):
    """Image [B, in_chans, H, W], padded with zeros to whole patches of 4x4 -> [B, ceil(H/4), ceil(W/4), dim]."""

    def __init__(self, in_chans: int, dim: int):
        super().__init__()
        bound = 1.0 / math.sqrt(in_chans * PATCH * PATCH)  # torch's own start of a convolution
        weight, bias = (paddle.ParamAttr(initializer=nn.initializer.Uniform(-bound, bound)) for _ in range(2))
        self.proj = nn.Conv2D(in_chans, dim, PATCH, PATCH, weight_attr=weight, bias_attr=bias)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.norm(transposed(self.proj(pad_image(x, PATCH)), [0, 2, 3, 1]))


def neighbours(x: paddle.Tensor) -> paddle.Tensor:
    """2x2 pixels side by side: [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), 4 * C], an odd side padded with zeros."""
    x = pad_map(x, 2)
    return paddle.concat([x[:, row::2, col::2] for col in (0, 1) for row in (0, 1)], axis=-1)


class PatchMerging(nn.Layer):
    """[B, H, W, dim] -> [B, ceil(H/2), ceil(W/2), 2 * dim]: neighbours joined, normalised, reduced."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.reduction(self.norm(neighbours(x)))


class Stage(nn.Layer):
    """PatchMerging (none in the first stage), then the blocks; every second one is shifted.

    Args:
        drop_rates: stochastic depth of each block; its length is the depth.
    """

    def __init__(self, downsample: nn.Layer, block: Callable[..., nn.Layer], dim: int, heads: int, window: int,
                 shift: int, drop_rates: Sequence[float]):
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*[block(dim, heads, window, shift if index % 2 else 0, rate)
                                      for index, rate in enumerate(drop_rates)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.blocks(self.downsample(x))


class Swin(FeatureNet):
    """Features: the four stages, at strides 4, 8, 16, 32, as [B, C, H, W]; inside, maps are [B, H, W, C].

    Any image size works, in dynamic graphs and after export: image and maps are padded at the bottom and on the right
    to whole patches, windows and pairs, and the mask of shifted windows is made for the size found at run time. The
    windows belong to the weights: they are laid out for images of ``trained_size`` and stay so at other sizes. A stage
    whose map then fits into one window (the last one of every variant) has the map for its window and no shift;
    ``always_partition`` gives it the full window and the shift, as the paper's detectors have it. No parameter's shape
    depends on that. It is what timm computes with strict_img_size=False and the same always_partition (and, where a
    side of the image is no multiple of 4, with dynamic_img_pad=True in its patch embedding).

    Args:
        trained_size, window: side of the images in pretraining, and of the windows.
        dim: channels of the first stage, doubled in each.
        depths, heads: of each stage.
        always_partition: see above.
        Others: see FeatureNet and create_model.
    """

    HEAD = ("norm",)
    CLASSIFIER = "head.fc"
    BLOCK: type[nn.Layer] = Block
    MERGING: type[nn.Layer] = PatchMerging

    def __init__(self, trained_size: int, window: int, dim: int, depths: Sequence[int], heads: Sequence[int],
                 always_partition: bool = False, num_classes: int = 1000, in_chans: int = 3,
                 features_only: bool = False, out_indices: int | Sequence[int] | None = None, drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, pool: str = "avg"):
        super().__init__(num_classes, in_chans, features_only, out_indices, drop_rate, pool)
        self.patch_embed = PatchEmbed(in_chans, dim)
        self.layers = nn.Sequential()
        steps = [Step(("patch_embed",), PATCH, dim)]
        for index, depth in enumerate(depths):
            first, chs, stride = sum(depths[:index]), dim * 2 ** index, PATCH * 2 ** index
            rates = [drop_path_rate * block / (sum(depths) - 1) for block in range(first, first + depth)]
            downsample = self.MERGING(chs // 2) if index else nn.Identity()
            side, shift = _window_and_shift(math.ceil(trained_size / stride), window, always_partition)
            stage = Stage(downsample, self.BLOCK, chs, heads[index], side, shift, rates)
            self.layers.add_sublayer(str(index), stage)
            path = f"layers.{index}"
            steps.append(Step((path,), stride, chs, tap=path))
        self._set_steps(steps)
        if not features_only:
            self.norm = nn.LayerNorm(self.num_features)
        if self.num_classes:
            self.head = nn.Sequential(("fc", linear(self.num_features, self.num_classes)))

    def forward_intermediates(self, x: paddle.Tensor,
                              indices: int | Sequence[int] | None = None) -> list[paddle.Tensor]:
        """As FeatureNet's: features [B, C, H, W]."""
        features = FeatureNet.forward_intermediates(self, x, indices)  # to_static loses what super() needs
        return [transposed(feature, [0, 3, 1, 2]) for feature in features]

    def forward_features(self, x: paddle.Tensor) -> paddle.Tensor:
        """Image [B, in_chans, H, W] -> the map [B, C, ceil(H/32), ceil(W/32)] that the head pools."""
        return transposed(FeatureNet.forward_features(self, x), [0, 3, 1, 2])


def _window_and_shift(resolution, window, always_partition):
    """Of a stage whose map has ``resolution`` rows and columns in pretraining."""
    if resolution > window or always_partition:
        return window, window // 2
    return resolution, 0


TINY = dict(dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24))
SMALL = dict(dim=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24))
BASE = dict(dim=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32))
LARGE = dict(dim=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48))

VARIANTS: dict[str, dict[str, Any]] = {
    "swin_tiny_patch4_window7_224": dict(TINY, trained_size=224, window=7),
    "swin_small_patch4_window7_224": dict(SMALL, trained_size=224, window=7),
    "swin_base_patch4_window7_224": dict(BASE, trained_size=224, window=7),
    "swin_base_patch4_window12_384": dict(BASE, trained_size=384, window=12),
    "swin_large_patch4_window7_224": dict(LARGE, trained_size=224, window=7),
}

for _name, _variant in VARIANTS.items():
    register_model(_name, family="swin")(functools.partial(Swin, **_variant))
