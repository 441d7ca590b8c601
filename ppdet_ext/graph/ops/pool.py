# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pooling. Where a window starts in the padding on the far side torch has none; Paddle's ceil_mode does."""
from __future__ import annotations

import paddle
import paddle.nn.functional as F

from . import _values
from ._table import op
from ._values import Sizes, Tensor, UserError, known, per_axis
from .padding import pad
from .reduce import amax
from .shape import to_shape, transpose

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE_AVG = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
_ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


def _without_late_windows(out, x, kernel, stride, padding):
    """Drop the last window of ceil_mode where it starts beyond the input and its first padding."""
    index = [slice(None), slice(None)]
    for i, (k, s, p) in enumerate(zip(kernel, stride, padding)):
        # windows that start inside: starts are s * n < size + p
        inside = (_values.size(x, 2 + i) + p + s - 1) // s
        index.append(slice(0, inside) if s + p > k else slice(None))
    return out[tuple(index)] if any(item != slice(None) for item in index) else out


def _max_pool(dims):
    @op(f"torch.nn.functional.max_pool{dims}d", f"torch.max_pool{dims}d")
    def max_pool(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        kernel, padding = per_axis(kernel_size, dims), per_axis(padding, dims)
        stride = kernel if stride is None or stride == [] else per_axis(stride, dims)
        if per_axis(dilation, dims) != [1] * dims or return_indices:
            raise UserError(f"max_pool{dims}d with dilation or return_indices has no twin in Paddle")
        out = _MAX[dims](x, kernel, stride, padding, ceil_mode=ceil_mode)
        return _without_late_windows(out, x, kernel, stride, padding) if ceil_mode else out

    max_pool.__name__ = f"max_pool{dims}d"


def _avg_pool(dims):
    @op(f"torch._C._nn.avg_pool{dims}d" if dims > 1 else "torch.avg_pool1d", f"torch.nn.functional.avg_pool{dims}d")
    def avg_pool(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
                 divisor_override=None):
        """Paddle's ``exclusive`` is not count_include_pad; with ceil_mode torch never counts what lies beyond the
        padding, Paddle does, so there the padding is made first and then counted as part of the input."""
        kernel, padding = per_axis(kernel_size, dims), per_axis(padding, dims)
        stride = kernel if stride is None or stride == [] else per_axis(stride, dims)
        pool = _AVG[dims]
        if divisor_override:
            area = 1
            for k in kernel:
                area *= k
            out = pool(x, kernel, stride, padding, exclusive=False, ceil_mode=ceil_mode) * (area / divisor_override)
        elif ceil_mode and count_include_pad and any(padding):
            wide = pad(x, [p for p in reversed(padding) for _ in (0, 1)])
            out = pool(wide, kernel, stride, 0, exclusive=True, ceil_mode=True)
        else:
            exclusive = ceil_mode or not count_include_pad
            out = pool(x, kernel, stride, padding, exclusive=exclusive, ceil_mode=ceil_mode)
        return _without_late_windows(out, x, kernel, stride, padding) if ceil_mode else out

    avg_pool.__name__ = f"avg_pool{dims}d"


def _adaptive_pool(pools, reduce, x, output_size, dims, what):
    """Windows from floor(i * in / out) to ceil((i + 1) * in / out); None keeps a size."""
    wanted = per_axis(output_size, dims)
    if wanted == [1] * dims:
        return reduce(x, list(range(x.ndim - dims, x.ndim)), True)
    if dims == 2 and wanted.count(None) == 1:
        return _one_of_two(pools, reduce, x, wanted, what)
    wanted = [_values.size(x, i - dims) if value is None else value for i, value in enumerate(wanted)]
    known(wanted, what)
    return pools[dims](x, wanted if dims > 1 else wanted[0])


def _one_of_two(pools, reduce, x, wanted, what):
    """One of height and width kept: the other's pooling for every row (column) apart, so that it may stay open."""
    if wanted[1] is None:
        return transpose(_one_of_two(pools, reduce, transpose(x, -1, -2), wanted[::-1], what), -1, -2)
    shape = _values.sizes(x)
    rows = to_shape(x, [1, -1, shape[-1]])
    return to_shape(_adaptive_pool(pools, reduce, rows, wanted[1], 1, what), [*shape[:-1], wanted[1]])


def _adaptive(dims):
    @op(f"torch.nn.functional.adaptive_avg_pool{dims}d", *(["torch.adaptive_avg_pool1d"] if dims == 1 else []))
    def adaptive_avg_pool(x, output_size):
        return _adaptive_pool(_ADAPTIVE_AVG, _values.mean_over, x, output_size, dims, "an adaptive average pool")

    @op(f"torch.nn.functional.adaptive_max_pool{dims}d")
    def adaptive_max_pool(x, output_size, return_indices=False):
        return _adaptive_pool(_ADAPTIVE_MAX, amax, x, output_size, dims, "an adaptive maximum pool")

    adaptive_avg_pool.__name__, adaptive_max_pool.__name__ = f"adaptive_avg_pool{dims}d", f"adaptive_max_pool{dims}d"


for _dims in (1, 2, 3):
    _max_pool(_dims)
    _avg_pool(_dims)
    _adaptive(_dims)


@op("torch.nn.functional.lp_pool2d")
def lp_pool2d(x: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None,
              ceil_mode: bool = False) -> Tensor:
    kernel = per_axis(kernel_size, 2)
    stride = kernel if stride is None else per_axis(stride, 2)
    mean = F.avg_pool2d(paddle.pow(x, norm_type), kernel, stride, 0, ceil_mode=ceil_mode)
    return paddle.pow(F.relu(mean) * (kernel[0] * kernel[1]), 1.0 / norm_type)
