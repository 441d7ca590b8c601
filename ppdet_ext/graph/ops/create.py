# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""New tensors. torch's default dtype is float32, or int64 where every argument is an integer."""
from __future__ import annotations

from typing import Any

import paddle

from . import _values
from ._table import op
from ._values import (
    DType,
    Sizes,
    Tensor,
    Value,
    any_tensor,
    cast,
    dtype_of,
    is_tensor,
    kind,
    listed,
    promote,
    result_dtype,
    scalar,
)
from .shape import expand_to


def _full(sizes, value, dtype):
    if dtype == "bool":
        return paddle.full(sizes, int(value), "int32").astype("bool")
    return paddle.full(sizes, value, dtype)


@op("torch.full", creates=True)
def full(size: Sizes, fill_value: Any, *, dtype: DType = None) -> Tensor:
    if is_tensor(fill_value):
        return expand_to(cast(fill_value, dtype), list(size))
    return _full(list(size), fill_value, dtype or result_dtype(fill_value))


@op("torch.zeros", "torch.empty", creates=True)
def zeros(*size: Any, dtype: DType = None, **sizes: Any) -> Tensor:
    """``torch.empty`` too: what is in it must not matter."""
    return _full(listed(tuple(sizes.values()) or size), 0, dtype or "float32")


@op("torch.ones", creates=True)
def ones(*size: Any, dtype: DType = None, **sizes: Any) -> Tensor:
    return _full(listed(tuple(sizes.values()) or size), 1, dtype or "float32")


@op("torch.full_like")
def full_like(x: Tensor, fill_value: Any, *, dtype: DType = None) -> Tensor:
    return _full(_values.sizes(x), fill_value, dtype or dtype_of(x))


@op("torch.zeros_like", "torch.empty_like")
def zeros_like(x: Tensor, *, dtype: DType = None) -> Tensor:
    return _full(_values.sizes(x), 0, dtype or dtype_of(x))


@op("torch.ones_like")
def ones_like(x: Tensor, *, dtype: DType = None) -> Tensor:
    return _full(_values.sizes(x), 1, dtype or dtype_of(x))


@op(".new_full")
def new_full(x: Tensor, size: Sizes, fill_value: Any, *, dtype: DType = None) -> Tensor:
    return _full(list(size), fill_value, dtype or dtype_of(x))


@op(".new_zeros", ".new_empty")
def new_zeros(x: Tensor, *size: Any, dtype: DType = None, **sizes: Any) -> Tensor:
    return _full(listed(tuple(sizes.values()) or size), 0, dtype or dtype_of(x))


@op(".new_ones")
def new_ones(x: Tensor, *size: Any, dtype: DType = None, **sizes: Any) -> Tensor:
    return _full(listed(tuple(sizes.values()) or size), 1, dtype or dtype_of(x))


@op("torch.tensor", "torch.scalar_tensor", creates=True)
@op("torch.as_tensor", creates=True, view=True)
def tensor(data: Any, dtype: DType = None) -> Tensor:
    if is_tensor(data):
        return cast(data, dtype)
    if isinstance(data, (list, tuple)) and any_tensor(*data):
        data = promote(*data)
        return cast(paddle.stack(list(data)), dtype)
    return _full([], data, dtype or result_dtype(data)) if isinstance(data, (bool, int, float)) else \
        _of_list(data, dtype)


def _of_list(data, dtype):
    flat = data
    while isinstance(flat, (list, tuple)) and flat and isinstance(flat[0], (list, tuple)):
        flat = [item for row in flat for item in row]
    return paddle.to_tensor(data, dtype=dtype or (result_dtype(*flat) if flat else "float32"))


@op("torch.arange", creates=True)
def arange(start: Value, end: Value | None = None, step: Value = 1, *, dtype: DType = None) -> Tensor:
    if end is None:
        start, end = 0, start
    whole = kind(result_dtype(start, end, step)) == "int"
    dtype = dtype or ("int64" if whole else "float32")
    if kind(dtype) == "float" and not any_tensor(start, end, step):
        return cast(paddle.arange(start, end, step, "float64"), dtype)  # torch counts in double precision
    if start == 0 and not any_tensor(start) and step == 1:
        return cast(paddle.arange(end), dtype)
    work: DType = "int64" if whole else dtype
    start, end, step = (cast(item, work) if is_tensor(item) else scalar(item, work) for item in (start, end, step))
    return cast(paddle.arange(start, end, step, work), dtype)


@op("torch.linspace", creates=True)
def linspace(start: Value, end: Value, steps: Any, *, dtype: DType = None) -> Tensor:
    return paddle.linspace(start, end, steps, dtype or "float32")


@op("torch.logspace", creates=True)
def logspace(start: Value, end: Value, steps: Any, base: float = 10.0, *, dtype: DType = None) -> Tensor:
    return paddle.pow(scalar(base, "float32"), paddle.linspace(start, end, steps, "float32")).astype(dtype or "float32")


@op("torch.eye", creates=True)
def eye(n: int, m: int | None = None, *, dtype: DType = None) -> Tensor:
    return paddle.eye(n, m, dtype or "float32")


@op("torch.meshgrid", "torch.functional.meshgrid", view=True)
def meshgrid(*tensors: Any, indexing: str = "ij") -> list[Tensor]:
    """Paddle's is 'ij'; 'xy' swaps the first two dimensions."""
    axes = listed(tensors)
    if indexing != "xy":
        return list(paddle.meshgrid(*axes))
    y, x, *rest = paddle.meshgrid(axes[1], axes[0], *axes[2:])
    return [x, y, *rest]


@op("torch._C._nn.one_hot", "torch.nn.functional.one_hot")
def one_hot(x: Tensor, num_classes: int = -1) -> Tensor:
    if num_classes == -1:
        num_classes = int(x.max()) + 1
    return cast(paddle.nn.functional.one_hot(x, num_classes), "int64")


@op("torch.rand", creates=True, random=True)
def rand(*size: Any, dtype: DType = None) -> Tensor:
    return paddle.rand(listed(size), dtype or "float32")


@op("torch.randn", creates=True, random=True)
def randn(*size: Any, dtype: DType = None) -> Tensor:
    return paddle.randn(listed(size), dtype or "float32")


@op("torch.rand_like", random=True)
def rand_like(x: Tensor, *, dtype: DType = None) -> Tensor:
    return paddle.rand(_values.sizes(x), dtype or dtype_of(x))


@op("torch.randn_like", random=True)
def randn_like(x: Tensor, *, dtype: DType = None) -> Tensor:
    return paddle.randn(_values.sizes(x), dtype or dtype_of(x))


@op(".bernoulli_", random=True)
def bernoulli(x: Tensor, p: Any = 0.5) -> Tensor:
    return paddle.bernoulli(paddle.full_like(x, p))


@op(".uniform_", random=True)
def uniform(x: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    return paddle.uniform(_values.sizes(x), dtype_of(x), low, high)


@op(".normal_", random=True)
def normal(x: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    return paddle.randn(_values.sizes(x), dtype_of(x)) * std + mean
