# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""torch.nn's modules: the files by kind, and here the linear ones, dropout, reshaping, padding and up-sampling."""
from __future__ import annotations

from typing import Any

from paddle import nn
from paddle.jit import not_to_static
from paddle.nn import functional as F

from . import activation_leaves, conv_leaves, convolutions, norm_leaves, pool_leaves, sequence_leaves  # noqa: F401  register
from ._leaf_args import only
from ._leaf_tools import Function, attr
from ._table import OPS, leaf
from ._values import Sizes, Tensor, sizes
from .interpolate import interpolate
from .padding import pad
from .shape import to_shape


@leaf("Linear", "NonDynamicallyQuantizableLinear", args=("in_features", "out_features", "bias"))
def linear(in_features: int, out_features: int, bias: Any) -> nn.Layer:
    return nn.Linear(in_features, out_features, bias_attr=attr(bias))


class Bilinear(nn.Layer):
    """y[o] = x1 . weight[o] . x2 + bias[o]; weight is [out, in1, in2]."""

    def __init__(self, in1: int, in2: int, out: int, bias: bool) -> None:
        super().__init__()
        self.weight = self.create_parameter([out, in1, in2])
        self.bias = self.create_parameter([out], is_bias=True) if bias else None

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.bilinear(x1, x2, self.weight, None if self.bias is None else self.bias.unsqueeze(0))


@leaf("Bilinear", args=("in1_features", "in2_features", "out_features", "bias"))
def bilinear(in1_features: int, in2_features: int, out_features: int, bias: Any) -> nn.Layer:
    return Bilinear(in1_features, in2_features, out_features, bias)


@leaf("Embedding", args=("num_embeddings", "embedding_dim"))
def embedding(num_embeddings: int, embedding_dim: int) -> nn.Layer:
    return nn.Embedding(num_embeddings, embedding_dim)


# Paddle's embedding gives zeros at padding_idx, torch's the row
only("Embedding", padding_idx=(None,), max_norm=(None,), scale_grad_by_freq=(False,))


@leaf("Identity", view=True)
def identity() -> nn.Layer:
    return nn.Identity()


class ChannelDropout(nn.Layer):
    """Dropout of whole channels: one draw for each sample and channel."""

    def __init__(self, p: Any) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, axis=[0, 1], training=self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


@leaf("Dropout", args=("p",), view=True)
def dropout(p: Any) -> nn.Layer:
    return nn.Dropout(p)


@leaf("Dropout1d", "Dropout2d", "Dropout3d", args=("p",), view=True)
def channel_dropout(p: Any) -> nn.Layer:
    return ChannelDropout(p)


@leaf("AlphaDropout", args=("p",), view=True)
def alpha_dropout(p: Any) -> nn.Layer:
    return nn.AlphaDropout(p)


@leaf("Flatten", args=("start_dim", "end_dim"), view=True)
def flatten(start_dim: int, end_dim: int) -> nn.Layer:
    return nn.Flatten(start_dim, end_dim)


@not_to_static
def unflattened(x: Tensor, axis: int, shape: Sizes) -> Tensor:
    own = sizes(x)
    axis %= x.ndim
    return to_shape(x, own[:axis] + shape + own[axis + 1:])


@leaf("Unflatten", args=("dim", "unflattened_size"), view=True)
def unflatten(dim: int, unflattened_size: Sizes) -> nn.Layer:
    return Function(unflattened, axis=dim, shape=unflattened_size)


only("Unflatten", dim=tuple(range(-8, 8)))  # not a name of a dimension


@leaf(*(f"{kind}Pad{dims}d" for kind in ("Constant", "Zero") for dims in (1, 2, 3)), args=("padding", "value"))
def constant_pad(padding: Sizes, value: float) -> nn.Layer:
    return Function(pad, pad=padding, value=value)


for kind, mode in (("Reflection", "reflect"), ("Replication", "replicate"), ("Circular", "circular")):
    leaf(*(f"{kind}Pad{dims}d" for dims in (1, 2, 3)), args=("padding",))(
        lambda padding, mode=mode: Function(pad, pad=padding, mode=mode))


@leaf("PixelShuffle", args=("upscale_factor",))
def pixel_shuffle(upscale_factor: int) -> nn.Layer:
    return nn.PixelShuffle(upscale_factor)


@leaf("PixelUnshuffle", args=("downscale_factor",))
def pixel_unshuffle(downscale_factor: int) -> nn.Layer:
    return Function(OPS["torch.pixel_unshuffle"].function, downscale_factor=downscale_factor)


@leaf("ChannelShuffle", args=("groups",))
def channel_shuffle(groups: int) -> nn.Layer:
    return nn.ChannelShuffle(groups)


@leaf("Unfold", args=("kernel_size", "dilation", "padding", "stride"))
def unfold(kernel_size: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> nn.Layer:
    return nn.Unfold(kernel_size, dilations=dilation, paddings=padding, strides=stride)


@leaf("Fold", args=("output_size", "kernel_size", "dilation", "padding", "stride"))
def fold(**settings: Any) -> nn.Layer:
    return Function(OPS["torch.nn.functional.fold"].function, **settings)


@leaf("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d",
      args=("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor"))
def upsample(**settings: Any) -> nn.Layer:
    return Function(interpolate, **settings)
