# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Convolutions with weights given as tensors, fold and unfold, pixel shuffle."""
from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

from ...kernels.transpose import transposed
from . import _values
from ._table import op
from ._values import Sizes, Tensor, any_tensor, per_axis
from .padding import pad
from .shape import to_shape

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv1d_transpose, 2: F.conv2d_transpose, 3: F.conv3d_transpose}


def _same_pads(weight, dilation):
    """[(before, after), ...] of 'same' at stride 1; the odd one goes after. (Paddle's SAME forgets the dilation.)"""
    totals = [step * (k - 1) for step, k in zip(dilation, weight.shape[2:])]
    return [(total // 2, total - total // 2) for total in totals]


def _conv(dims):
    @op(f"torch.conv{dims}d", f"torch.nn.functional.conv{dims}d")
    def conv(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        stride, dilation = per_axis(stride, dims), per_axis(dilation, dims)
        if padding == "same":
            pads = _same_pads(weight, dilation)
            padding = [before for before, _ in pads]
            uneven = [after - before for before, after in pads]
            if any(uneven):
                x = pad(x, [item for extra in reversed(uneven) for item in (0, extra)])
        padding = 0 if padding == "valid" else padding
        return _CONV[dims](x, weight, bias, stride, per_axis(padding, dims), dilation, groups)

    @op(f"torch.conv_transpose{dims}d", f"torch.nn.functional.conv_transpose{dims}d")
    def conv_transpose(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        stride, padding, output_padding, dilation = (
            per_axis(value, dims) for value in (stride, padding, output_padding, dilation))
        return _TRANSPOSED[dims](x, weight, bias, stride, padding, output_padding, groups=groups, dilation=dilation)

    conv.__name__, conv_transpose.__name__ = f"conv{dims}d", f"conv_transpose{dims}d"


for _dims in (1, 2, 3):
    _conv(_dims)


@op("torch.nn.functional.unfold", "torch._C._nn.im2col")
def unfold(x: Tensor, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1) -> Tensor:
    kernel_size, dilation, padding, stride = (per_axis(v, 2) for v in (kernel_size, dilation, padding, stride))
    return F.unfold(x, kernel_size, stride, padding, dilation)


@op("torch.nn.functional.fold", "torch._C._nn.col2im")
def fold(x: Tensor, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0,
         stride: Sizes = 1) -> Tensor:
    """Overlapping windows are summed. Sizes that a static graph leaves open need the transposed convolution below."""
    output_size, kernel_size, dilation, padding, stride = (
        per_axis(v, 2) for v in (output_size, kernel_size, dilation, padding, stride))
    if not any_tensor(*output_size, *x.shape) and -1 not in list(x.shape):
        return F.fold(x, output_size, kernel_size, stride, padding, dilation)
    return _fold_by_convolution(x, output_size, kernel_size, dilation, padding, stride)


def _fold_by_convolution(x, output_size, kernel_size, dilation, padding, stride):
    """Each window is one pixel of a transposed convolution whose kernels put one value in one place."""
    area = kernel_size[0] * kernel_size[1]
    channels = x.shape[1] // area
    grid = [(out + 2 * p - d * (k - 1) - 1) // s + 1
            for out, p, d, k, s in zip(output_size, padding, dilation, kernel_size, stride)]
    windows = to_shape(x, [_values.size(x, 0), channels * area, *grid])
    kernel = paddle.tile(paddle.reshape(paddle.eye(area, dtype=x.dtype), [area, 1, *kernel_size]), [channels, 1, 1, 1])
    extra = [s - 1 for s in stride]  # rows that no window reaches
    out = F.conv2d_transpose(windows, kernel, None, stride, 0, 0, dilation, channels)
    out = pad(out, [0, extra[1] + padding[1], 0, extra[0] + padding[0]])
    (top, left), (height, width) = padding, output_size
    return out[:, :, top:top + height, left:left + width]


@op("torch.pixel_shuffle", "torch.nn.functional.pixel_shuffle")
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    return F.pixel_shuffle(x, upscale_factor)


@op("torch.pixel_unshuffle", "torch.nn.functional.pixel_unshuffle")
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """Written out: Paddle's needs sizes that a static graph knows."""
    *front, channels, height, width = _values.sizes(x)
    r = downscale_factor
    out = paddle.reshape(x, [*front, channels, height // r, r, width // r, r])
    lead = list(range(len(front)))
    c, h, a, w, b = range(len(front), len(front) + 5)
    out = transposed(out, [*lead, c, a, b, h, w])
    return paddle.reshape(out, [*front, channels * r * r, height // r, width // r])


@op("torch.channel_shuffle", "torch.nn.functional.channel_shuffle")
def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    return F.channel_shuffle(x, groups)


@op("torch.nn.functional.embedding")
def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
              norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    return F.embedding(input, weight)


@op("torch.embedding")
def embedding_op(weight: Tensor, indices: Tensor, padding_idx: int | None = -1, scale_grad_by_freq: bool = False,
                 sparse: bool = False) -> Tensor:
    """The order in which torch's own operator has them."""
    return F.embedding(indices, weight)


@op("torch.nn.functional.bilinear", "torch.bilinear")
def bilinear(x1: Tensor, x2: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    out: Any = paddle.einsum("bi,oij,bj->bo", x1, weight, x2)
    return out if bias is None else out + bias
