# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Sums, means, extremes and norms over dimensions."""
from __future__ import annotations

from typing import Any

import paddle

from . import _values
from ._table import op
from ._values import Dims, DType, Tensor, axes, axis, cast, dtype_of, is_tensor, kind, mean_over
from .compare import maximum, minimum
from .index import ValuesIndices


def _dims(x, dim):
    """Dimensions to reduce: torch takes an empty list for all of them, as it takes None."""
    return None if dim is None or (isinstance(dim, (list, tuple)) and not dim) else axes(x, dim)


@op("torch.mean", ".mean")
def mean(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType = None) -> Tensor:
    return mean_over(cast(x, dtype), _dims(x, dim), keepdim)


@op("torch.sum", ".sum")
def sum_(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType = None) -> Tensor:
    dtype = dtype or ("int64" if kind(dtype_of(x)) in ("bool", "int") else None)
    return paddle.sum(cast(x, dtype), _dims(x, dim), keepdim=keepdim)


@op("torch.prod", ".prod")
def prod(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType = None) -> Tensor:
    dtype = dtype or ("int64" if kind(dtype_of(x)) in ("bool", "int") else None)
    return paddle.prod(cast(x, dtype), _dims(x, dim), keepdim)


def _axis_by_axis(function, x, dims, keepdim):
    """Paddle's gradient of an extreme over several of more than four dimensions reads memory that is not its own."""
    if x.ndim < 5 or dims is None:
        return function(x, dims, keepdim)
    for dim in sorted(dims, reverse=True):
        x = function(x, dim, keepdim)
    return x


@op("torch.amax", ".amax")
def amax(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return _axis_by_axis(paddle.amax, x, _dims(x, dim), keepdim)


@op("torch.amin", ".amin")
def amin(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return _axis_by_axis(paddle.amin, x, _dims(x, dim), keepdim)


def _extreme(x, dim, keepdim, function, arg_function, elementwise):
    """torch's max: of all, of two tensors, or along a dimension with the indices."""
    if dim is None:
        return function(x)
    if is_tensor(dim):
        return elementwise(x, dim)
    dim = axis(x, dim)
    return ValuesIndices(function(x, dim, keepdim), arg_function(x, dim, keepdim))


@op("torch.max", ".max")
def max_(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return _extreme(x, dim, keepdim, paddle.max, paddle.argmax, maximum)


@op("torch.min", ".min")
def min_(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return _extreme(x, dim, keepdim, paddle.min, paddle.argmin, minimum)


@op("torch.argmax", ".argmax")
def argmax(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return paddle.argmax(x, dim, keepdim)


@op("torch.argmin", ".argmin")
def argmin(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return paddle.argmin(x, dim, keepdim)


@op("torch.all", ".all")
def all_(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return paddle.all(cast(x, "bool"), _dims(x, dim), keepdim)


@op("torch.any", ".any")
def any_(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return paddle.any(cast(x, "bool"), _dims(x, dim), keepdim)


@op("torch.var", ".var")
def var(x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *,
        correction: int | None = None) -> Tensor:
    """torch also takes ``var(unbiased)`` with the flag in the place of the dimension."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    correction = int(unbiased) if correction is None else correction
    dims = _dims(x, dim)
    centred = x - mean_over(x, dims, True)
    squares = centred * centred
    if correction == 0:
        return mean_over(squares, dims, keepdim)
    count: Any = 1
    for item in (dims if dims is not None else range(x.ndim)):
        count = count * _values.size(x, item)
    count = cast(count - correction, dtype_of(x)) if is_tensor(count) else count - correction
    return paddle.sum(squares, dims, keepdim=keepdim) / count


@op("torch.std", ".std")
def std(x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *,
        correction: int | None = None) -> Tensor:
    return paddle.sqrt(var(x, dim, unbiased, keepdim, correction=correction))


@op("torch.var_mean")
def var_mean(x: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *,
             correction: int | None = None) -> tuple[Tensor, Tensor]:
    return var(x, dim, unbiased, keepdim, correction=correction), mean(x, dim, keepdim)


@op("torch.std_mean")
def std_mean(x: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *,
             correction: int | None = None) -> tuple[Tensor, Tensor]:
    return std(x, dim, unbiased, keepdim, correction=correction), mean(x, dim, keepdim)


@op("torch.norm", "torch.functional.norm", ".norm")
def norm(x: Tensor, p: str = "fro", dim: Dims = None, keepdim: bool = False, dtype: DType = None) -> Tensor:
    return vector_norm(x, 2 if p in (None, "fro") else p, dim, keepdim)


@op("torch._C._linalg.linalg_vector_norm", "torch._C._linalg.linalg_norm", "torch.linalg.vector_norm")
def vector_norm(x: Tensor, ord: Any = 2, dim: Dims = None, keepdim: bool = False, *,
                dtype: DType = None) -> Tensor:
    x, dims = cast(x, dtype), _dims(x, dim)
    if ord in (float("inf"), float("-inf")):
        return (paddle.max if ord > 0 else paddle.min)(paddle.abs(x), dims, keepdim)
    if ord is None or ord == 2:
        return paddle.sqrt(paddle.sum(x * x, dims, keepdim=keepdim))
    if ord == 1:
        return paddle.sum(paddle.abs(x), dims, keepdim=keepdim)
    return paddle.pow(paddle.sum(paddle.pow(paddle.abs(x), ord), dims, keepdim=keepdim), 1.0 / ord)


@op("torch.logsumexp", ".logsumexp")
def logsumexp(x: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    return paddle.logsumexp(x, _dims(x, dim), keepdim)


@op("torch.cumsum", ".cumsum")
def cumsum(x: Tensor, dim: int, *, dtype: DType = None) -> Tensor:
    dtype = dtype or ("int64" if kind(dtype_of(x)) in ("bool", "int") else None)
    return paddle.cumsum(cast(x, dtype), axis(x, dim))


@op("torch.cumprod", ".cumprod")
def cumprod(x: Tensor, dim: int, *, dtype: DType = None) -> Tensor:
    return paddle.cumprod(cast(x, dtype), axis(x, dim))


@op("torch.diff", ".diff")
def diff(x: Tensor, n: int = 1, dim: int = -1) -> Tensor:
    """Paddle 2.6's is wrong about sizes that a static graph leaves open."""
    before = (slice(None),) * axis(x, dim)
    for _ in range(n):
        x = x[before + (slice(1, None),)] - x[before + (slice(None, -1),)]
    return x
