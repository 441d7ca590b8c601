# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Padding. torch's list starts with the last dimension: [left, right, top, bottom, ...]; negative numbers crop."""
from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

from . import _values
from ._table import op
from ._values import Sizes, Tensor, any_tensor, cast, dtype_of, is_tensor
from .shape import to_shape

_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def _cropped(x, pads):
    """Apply the negative numbers."""
    index = [slice(None)] * x.ndim
    for i in range(0, len(pads), 2):
        before, after = (min(item, 0) if isinstance(item, int) else 0 for item in pads[i:i + 2])
        if before or after:
            index[x.ndim - 1 - i // 2] = slice(-before, after or None)
    return x[tuple(index)] if any(item != slice(None) for item in index) else x


def _pad_three(x, pads, mode, value):
    """The last three dimensions (more would not fit Paddle's op that takes sizes of a static graph)."""
    shape = _values.sizes(x)
    front = shape[:-3]
    x = to_shape(x, [-1, 1, *shape[-3:]]) if len(front) != 2 else x
    pads = paddle.stack([cast(item, "int32") if is_tensor(item) else paddle.full([], item, "int32")
                         for item in pads]) if any_tensor(*pads) else pads
    out = F.pad(x, pads, mode, value, "NCDHW")
    return out if len(front) == 2 else to_shape(out, [*front, *_values.sizes(out)[2:]])


@op("torch.nn.functional.pad", "torch._C._nn.pad")
def pad(x: Tensor, pad: Sizes, mode: str = "constant", value: float | None = None) -> Tensor:
    """A size that a static graph leaves open must not be negative."""
    pads = list(pad)
    x = _cropped(x, pads)
    pads = [max(item, 0) if isinstance(item, int) else item for item in pads]
    while pads and not any_tensor(*pads[-2:]) and not any(pads[-2:]):
        pads = pads[:-2]
    if not pads:
        return x
    return _padded(x, pads, _MODES[mode], 0.0 if value is None else float(value))


def _padded(x, pads, mode, value):
    dtype = dtype_of(x)
    x = cast(x, "int32") if dtype == "bool" else x
    if len(pads) > 6:  # further dimensions: constant zeros only, one at a time
        dims = range(3, len(pads) // 2)
        for dim in dims:
            x = _padded_front(x, x.ndim - 1 - dim, pads[2 * dim:2 * dim + 2], value)
        pads = pads[:6]
    missing = 3 - x.ndim
    lifted = x if missing <= 0 else to_shape(x, [1] * missing + _values.sizes(x))
    out = _pad_three(lifted, pads + [0] * (6 - len(pads)), mode, value)
    if missing > 0:
        out = paddle.squeeze(out, list(range(missing)))
    return cast(out, dtype)


def _padded_front(x, dim, pads, value):
    """Constant padding of one dimension by joining."""
    parts = [x]
    for place, count in ((0, pads[0]), (len(parts), pads[1])):
        shape = _values.sizes(x)
        shape[dim] = count
        if not isinstance(count, int) or count:
            parts.insert(0 if place == 0 else len(parts), paddle.full(shape, value, x.dtype))
    return paddle.concat(parts, dim) if len(parts) > 1 else x


@op("timm.layers.padding.pad_same")
def pad_same(x: Tensor, kernel_size: Sizes, stride: Sizes, dilation: Sizes = (1, 1), value: float = 0) -> Tensor:
    """TensorFlow's SAME: as many outputs as ceil(size / stride), the odd one after. From timm's layers/padding.py."""
    pads = []
    for dim in (-1, -2):
        total = same_padding(_values.size(x, dim), kernel_size[dim], stride[dim], dilation[dim])
        pads += [total // 2, total - total // 2]
    return pad(x, pads, value=value)


def same_padding(size: Any, kernel: Any, stride: int, dilation: int) -> Any:
    """Pixels that SAME adds to one dimension; ``size`` may be a 0-D tensor."""
    total = ((size + stride - 1) // stride - 1) * stride + (kernel - 1) * dilation + 1 - size
    return paddle.clip(total, min=0) if is_tensor(total) else max(total, 0)
