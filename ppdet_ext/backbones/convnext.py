# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545) and ConvNeXt V2 (Woo et al. 2023, arXiv:2301.00808), as in timm."""
from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from ..kernels.transpose import transposed
from ..nn import LayerNorm2d, Mlp, drop_path, linear, small_weights
from .features import FeatureNet, Step
from .model_registry import register_model

EPSILON = 1e-6
LAYER_SCALE = 1e-6  # where V1's residual branches start


def _conv(in_chs, out_chs, kernel_size, stride=1, groups=1):
    """With a bias; padded to keep the size where it has no stride, else without padding."""
    padding = kernel_size // 2 if stride == 1 else 0
    return nn.Conv2D(in_chs, out_chs, kernel_size, stride, padding, groups=groups, weight_attr=small_weights())


class Block(nn.Layer):
    """7x7 depthwise convolution, LayerNorm, perceptron and a skip.

    Args:
        chs: channels.
        conv_mlp: the perceptron is made of 1x1 convolutions, not of linear layers on [B, H, W, C] (other shapes of
            the same weights; timm's small variants).
        grn: V2: a GlobalResponseNorm in the perceptron in place of the layer scale ``gamma``.
    """

    def __init__(self, chs: int, conv_mlp: bool, grn: bool, drop_rate: float):
        super().__init__()
        self.conv_mlp = conv_mlp
        self.conv_dw = _conv(chs, chs, 7, groups=chs)
        self.norm = LayerNorm2d(chs, EPSILON) if conv_mlp else nn.LayerNorm(chs, EPSILON)
        self.mlp = Mlp(chs, 4 * chs, conv_mlp, grn)
        self.gamma = None
        if not grn:
            self.gamma = self.create_parameter([chs], default_initializer=nn.initializer.Constant(LAYER_SCALE))
        self.drop_path = drop_path(drop_rate)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.conv_dw(x)
        if self.conv_mlp:
            y = self.mlp(self.norm(y))
        else:
            y = transposed(self.mlp(self.norm(transposed(y, [0, 2, 3, 1]))), [0, 3, 1, 2])
        if self.gamma is not None:
            y = y * self.gamma.reshape([1, -1, 1, 1])
        return self.drop_path(y) + x


class Stage(nn.Layer):
    """LayerNorm and a 2x2 convolution of stride 2 (none in the first stage), then the blocks.

    Args:
        drop_rates: stochastic depth of each block; its length is the depth.
    """

    def __init__(self, in_chs: int, out_chs: int, drop_rates: Sequence[float], conv_mlp: bool, grn: bool):
        super().__init__()
        self.downsample: nn.Layer = nn.Identity()
        if in_chs != out_chs:
            self.downsample = nn.Sequential(LayerNorm2d(in_chs, EPSILON), _conv(in_chs, out_chs, 2, stride=2))
        self.blocks = nn.Sequential(*[Block(out_chs, conv_mlp, grn, rate) for rate in drop_rates])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.blocks(self.downsample(x))


class ConvNeXt(FeatureNet):
    """Features: the four stages, at strides 4, 8, 16, 32. The stem is a 4x4 convolution of stride 4.

    Args:
        depths, chs: of each stage.
        conv_mlp, grn: see Block.
        Others: see FeatureNet and create_model.
    """

    CLASSIFIER = "head.fc"

    def __init__(self, depths: Sequence[int], chs: Sequence[int], conv_mlp: bool = False, grn: bool = False,
                 num_classes: int = 1000, in_chans: int = 3, features_only: bool = False,
                 out_indices: int | Sequence[int] | None = None, drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 pool: str = "avg"):
        super().__init__(num_classes, in_chans, features_only, out_indices, drop_rate, pool)
        self.stem = nn.Sequential(_conv(in_chans, chs[0], 4, stride=4), LayerNorm2d(chs[0], EPSILON))
        self.stages = nn.Sequential()
        steps, in_chs = [Step(("stem",), 4, chs[0])], chs[0]
        for index, out_chs in enumerate(chs):
            first = sum(depths[:index])
            rates = [drop_path_rate * block / (sum(depths) - 1) for block in range(first, first + depths[index])]
            self.stages.add_sublayer(str(index), Stage(in_chs, out_chs, rates, conv_mlp, grn))
            path = f"stages.{index}"
            steps.append(Step((path,), 4 * 2 ** index, out_chs, tap=path))
            in_chs = out_chs
        self._set_steps(steps)
        if features_only:
            self.unused_prefixes += ("head.norm.",)
        else:
            self._add_head(pool)

    def _add_head(self, pool):
        norm = nn.LayerNorm if pool else LayerNorm2d  # after the pooling, where there is any
        self.head = nn.Sequential(("norm", norm(self.num_features, EPSILON)))
        if self.num_classes:
            self.head.add_sublayer("fc", linear(self.num_features, self.num_classes))

    def forward_head(self, x: paddle.Tensor, pre_logits: bool = False) -> paddle.Tensor:
        """The last map -> logits [B, num_classes] (pooled, normalised features with pre_logits or no classifier)."""
        x = self.head_dropout(self.head.norm(self._pool(x)))
        return x if pre_logits or not self.num_classes else self.head.fc(x)


WIDE, DEEP = (3, 3, 9, 3), (3, 3, 27, 3)
V1: dict[str, dict[str, Any]] = {
    "convnext_atto": dict(depths=(2, 2, 6, 2), chs=(40, 80, 160, 320), conv_mlp=True),
    "convnext_femto": dict(depths=(2, 2, 6, 2), chs=(48, 96, 192, 384), conv_mlp=True),
    "convnext_pico": dict(depths=(2, 2, 6, 2), chs=(64, 128, 256, 512), conv_mlp=True),
    "convnext_nano": dict(depths=(2, 2, 8, 2), chs=(80, 160, 320, 640), conv_mlp=True),
    "convnext_tiny": dict(depths=WIDE, chs=(96, 192, 384, 768)),
    "convnext_small": dict(depths=DEEP, chs=(96, 192, 384, 768)),
    "convnext_base": dict(depths=DEEP, chs=(128, 256, 512, 1024)),
    "convnext_large": dict(depths=DEEP, chs=(192, 384, 768, 1536)),
}
IN_V2 = ("atto", "femto", "pico", "nano", "tiny", "base")
VARIANTS = {**V1, **{f"convnextv2_{size}": dict(V1[f"convnext_{size}"], grn=True) for size in IN_V2}}

for _name, _variant in VARIANTS.items():
    register_model(_name, family="convnext")(functools.partial(ConvNeXt, **_variant))
