# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the operations of the table share: tensors or numbers, sizes, dimensions, dtypes, torch's promotion."""
from __future__ import annotations

import functools
from typing import Any, Callable

import paddle

from ...errors import UserError

Tensor = paddle.Tensor
# Paddle's own annotations are narrower than what its functions take, so these are words for a reader
Value = Any  # a tensor or a number
Dims = Any  # a dimension, several of them, or None for all
DType = Any  # the name of one; Paddle's annotations list them all
Sizes = Any  # a size or several, each a number or a 0-D tensor of a static graph

# every class a tensor may have: eager (first, as it is quick to tell), a static graph's under the new and the old IR
TENSORS = (paddle.Tensor, getattr(getattr(paddle, "pir", None), "Value", paddle.Tensor), paddle.static.Variable)

# torch promotes by kind first, then (within a kind) by the number of bits
KINDS = ("bool", "int", "float", "complex")
FLOATS = ("float16", "bfloat16", "float32", "float64")
BITS = {"bool": 0, "uint8": 7, "int8": 7, "int16": 15, "int32": 31, "int64": 63, "float16": 16, "bfloat16": 16,
         "float32": 32, "float64": 64, "complex64": 64, "complex128": 128}


def is_tensor(value: Any) -> bool:
    return isinstance(value, TENSORS)


def any_tensor(*values: Any) -> bool:
    return any(isinstance(value, TENSORS) for value in values)


@functools.lru_cache(maxsize=1024)
def _dtype_name(dtype):
    return str(dtype).replace("paddle.", "")


def dtype_of(tensor: Tensor) -> DType:
    """'float32' and so on."""
    return _dtype_name(tensor.dtype)


def kind(dtype: DType) -> str:
    """'bool', 'int', 'float' or 'complex'."""
    return next((name for name in ("bool", "complex", "int") if name in dtype), "float")


def is_float(tensor: Tensor) -> bool:
    return kind(dtype_of(tensor)) == "float"


def cast(tensor: Tensor, dtype: DType) -> Tensor:
    return tensor if dtype is None or dtype_of(tensor) == dtype else tensor.astype(dtype)


def sizes(tensor: Tensor) -> list[Any]:
    """The shape: ints, and in a static graph 0-D tensors for the dimensions it does not know."""
    shape = list(tensor.shape)
    if any(size < 0 for size in shape):
        known = paddle.shape(tensor)
        shape = [size if size >= 0 else known[i] for i, size in enumerate(shape)]
    return shape


def size(tensor: Tensor, dim: Any) -> Any:
    """One element of ``sizes``."""
    known = tensor.shape[dim]
    return known if known >= 0 else paddle.shape(tensor)[dim]


def axis(tensor: Tensor, dim: int, extra: int = 0) -> int:
    """``dim`` counted from the front, for a tensor with ``extra`` more dimensions than this one."""
    return dim % (tensor.ndim + extra) if dim < 0 else dim


def axes(tensor: Tensor, dims: Dims) -> Any:
    """The list for one dimension or several; None stays None."""
    if dims is None:
        return None
    dims = dims if isinstance(dims, (list, tuple)) else [dims]
    return [axis(tensor, dim) for dim in dims]


def mean_over(tensor: Tensor, dims: Dims, keepdim: bool = False) -> Tensor:
    """The mean over dims (None: all), one at a time: Paddle's over several has a gradient up to ten times slower."""
    if dims is None or isinstance(dims, int) or len(dims) < 2:
        return paddle.mean(tensor, dims, keepdim)
    for dim in sorted(axes(tensor, dims), reverse=True):
        tensor = paddle.mean(tensor, dim, keepdim)
    return tensor


def listed(values: Any) -> list[Any]:
    """The list of arguments given either one by one or as one list: ``x.view(2, 3)``, ``x.view([2, 3])``."""
    return list(values[0]) if len(values) == 1 and isinstance(values[0], (list, tuple)) else list(values)


def per_axis(value: Any, count: int) -> list[Any]:
    """``[2, 2]`` for 2; a list of one counts as one number, as torch has it."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * count if len(values) == 1 else values


def known(value: Any, what: str) -> Any:
    """``value`` if it is a number, or several.

    Raises:
        UserError: a static graph leaves it open.
    """
    values = value if isinstance(value, (list, tuple)) else [value]
    if any(is_tensor(item) for item in values):
        raise UserError(f"{what} depends on the image size: export with a fixed image size")
    return value


def scalar(value: Any, dtype: DType) -> Tensor:
    """A 0-D tensor of a number."""
    return paddle.full([], value, dtype)


_NUMBERS = {bool: "bool", int: "int64", float: "float32", complex: "complex64"}


def _join(a, b):
    """The dtype of two equals: the higher kind, then the wider."""
    if kind(a) != kind(b):
        return max(a, b, key=lambda dtype: KINDS.index(kind(dtype)))
    return "float32" if {a, b} == {"float16", "bfloat16"} else max(a, b, key=BITS.get)


def result_dtype(*values: Any) -> DType:
    """torch's result type: tensors with dimensions decide, unless a 0-D tensor or a number is of a higher kind.

    So a size read from a static graph, a 0-D tensor, counts as the number it is in torch.
    """
    shaped: list[str] = []
    flat: list[str] = []
    numbers: list[str] = []
    for value in values:
        if is_tensor(value):
            (shaped if len(value.shape) else flat).append(dtype_of(value))
        else:
            numbers.append(_NUMBERS[type(value)])
    best = "bool"
    for group in (numbers, flat, shaped):
        if group:
            joined = functools.reduce(_join, group)
            best = joined if KINDS.index(kind(joined)) >= KINDS.index(kind(best)) else best
    return best


def keeps_dtype(function: Callable) -> Callable:
    """The in-place form of a function: the result has the first tensor's dtype."""
    def apply(x, *args, **kwargs):
        result = function(x, *args, **kwargs)
        return cast(result, dtype_of(x)) if is_tensor(x) else result

    apply.__name__ = f"{function.__name__}_in_place"
    return apply


def promote(*values: Any) -> tuple[Tensor, ...]:
    """The values as tensors of one dtype, the one torch computes in."""
    first = values[0]
    if all(is_tensor(value) and value.dtype == first.dtype for value in values):
        return values
    dtype = result_dtype(*values)
    return tuple(cast(value, dtype) if is_tensor(value) else scalar(value, dtype) for value in values)
