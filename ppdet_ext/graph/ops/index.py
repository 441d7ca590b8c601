# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Reading and writing by index: slices, gather, masks, triangles, sorting."""
from __future__ import annotations

from collections import namedtuple
from typing import Any

import paddle

from . import _values
from ._table import op
from ._values import Tensor, Value, any_tensor, axis, cast, dtype_of, is_tensor
from .shape import expand_to, to_shape

ValuesIndices = namedtuple("ValuesIndices", ("values", "indices"))


@op("getattr.values", view=True)
def values(pair: Any) -> Tensor:
    return pair[0]


@op("getattr.indices", view=True)
def indices(pair: Any) -> Tensor:
    return pair[1]


def _plain_index(item):
    """A list of numbers as the tensor it stands for; an end where Paddle 2.6 wants one, after a tensor."""
    if isinstance(item, list):
        return paddle.to_tensor(item)
    if isinstance(item, slice) and is_tensor(item.start) and item.stop is None:
        return slice(item.start, 2 ** 31 - 1, item.step)
    return item


def _plain(x, index):
    if not isinstance(index, tuple):
        return _plain_index(index)
    index = tuple(_plain_index(item) for item in index)
    return _without_ellipsis(x, index) if any_tensor(*index) else index


def _without_ellipsis(x, index):
    """Slices in its place: Paddle 2.6 takes no Ellipsis beside a tensor in a static graph."""
    place = next((i for i, item in enumerate(index) if item is Ellipsis), None)
    if place is None:
        return index
    used = sum(item.ndim if is_tensor(item) and dtype_of(item) == "bool" else item is not None for item in index) - 1
    return index[:place] + (slice(None),) * (x.ndim - used) + index[place + 1:]


@op("_operator.getitem", view=True)
def getitem(x: Any, index: Any) -> Any:
    """Numbers, slices, None, Ellipsis, lists, integer and boolean tensors, or a tuple of these."""
    if not is_tensor(x):
        return x[index]
    index = _plain(x, index)
    if is_tensor(index) and "int" in dtype_of(index) and len(index.shape):
        return _rows(x, index)
    return x[index]


def _rows(x, index):
    """``x[index]`` as one gather, which is faster than Paddle's general indexing; negative ones count from the end."""
    count = _values.size(x, 0)
    index = paddle.where(index < 0, index + count, index)
    if index.ndim == 1:
        return paddle.gather(x, index)
    rows = paddle.gather(x, paddle.flatten(index))
    return to_shape(rows, [*_values.sizes(index), *_values.sizes(x)[1:]])


@op("_operator.setitem")
def setitem(x: Tensor, index: Any, value: Value) -> Tensor:
    """A copy of ``x`` in which ``x[index] = value``; gradients reach both."""
    value = cast(value, dtype_of(x)) if is_tensor(value) else value
    index = _plain(x, index)
    if not paddle.in_dynamic_mode():
        return paddle.static.setitem(paddle.assign(x), index, value)
    changed = x.clone()
    changed[index] = value
    return changed


@op(".copy_")
def copy(x: Tensor, src: Tensor) -> Tensor:
    return expand_to(cast(src, dtype_of(x)), _values.sizes(x))


@op(".fill_")
def fill(x: Tensor, value: Value) -> Tensor:
    return paddle.full_like(x, value)


@op(".zero_")
def zero(x: Tensor) -> Tensor:
    return paddle.zeros_like(x)


@op("torch.gather", ".gather")
def gather(x: Tensor, dim: int, index: Tensor) -> Tensor:
    return paddle.take_along_axis(x, index, axis(x, dim), broadcast=False)


@op("torch.take_along_dim", ".take_along_dim")
def take_along_dim(x: Tensor, indices: Tensor, dim: int) -> Tensor:
    return paddle.take_along_axis(x, indices, axis(x, dim))


@op("torch.index_select", ".index_select")
def index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    return paddle.index_select(x, index, axis(x, dim))


@op("torch.select", ".select", view=True)
def select(x: Tensor, dim: int, index: Any) -> Tensor:
    return x[(slice(None),) * axis(x, dim) + (index,)]


@op("torch.narrow", ".narrow", view=True)
def narrow(x: Tensor, dim: int, start: Any, length: Any) -> Tensor:
    return x[(slice(None),) * axis(x, dim) + (slice(start, start + length),)]


@op("torch.scatter", ".scatter", ".scatter_")
def scatter(x: Tensor, dim: int, index: Tensor, src: Value = None, value: Value = None) -> Tensor:
    src = src if value is None else value
    src = cast(src, dtype_of(x)) if is_tensor(src) else paddle.full(_values.sizes(index), src, dtype_of(x))
    return paddle.put_along_axis(x, index, src, axis(x, dim), broadcast=False)


@op("torch.index_add", ".index_add", ".index_add_")
def index_add(x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    return paddle.index_add(x, index, axis(x, dim), source if alpha == 1 else source * alpha)


@op("torch.masked_select", ".masked_select")
def masked_select(x: Tensor, mask: Tensor) -> Tensor:
    return paddle.masked_select(x, expand_to(mask, _values.sizes(x)))


@op("torch.tril", ".tril", ".tril_")
def tril(x: Tensor, diagonal: int = 0) -> Tensor:
    return _triangle(paddle.tril, x, diagonal)


@op("torch.triu", ".triu", ".triu_")
def triu(x: Tensor, diagonal: int = 0) -> Tensor:
    return _triangle(paddle.triu, x, diagonal)


def _triangle(function, x, diagonal):
    if dtype_of(x) == "bool":
        return function(x.astype("int32"), diagonal).astype("bool")
    return function(x, diagonal)


@op("torch.diagonal", ".diagonal", view=True)
def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    return paddle.diagonal(x, offset, dim1, dim2)


@op("torch.diag", ".diag")
def diag(x: Tensor, diagonal: int = 0) -> Tensor:
    return paddle.diag(x, diagonal)


@op("torch.topk", ".topk")
def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesIndices:
    return ValuesIndices(*paddle.topk(x, k, axis(x, dim), largest, sorted))


@op("torch.sort", ".sort")
def sort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> ValuesIndices:
    order = paddle.argsort(x, axis(x, dim), descending)
    return ValuesIndices(paddle.take_along_axis(x, order, axis(x, dim)), order)


@op("torch.argsort", ".argsort")
def argsort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    return paddle.argsort(x, axis(x, dim), descending)


@op("torch.nonzero", ".nonzero")
def nonzero(x: Tensor, as_tuple: bool = False) -> Any:
    found = paddle.nonzero(x)
    return [found[:, i] for i in range(x.ndim)] if as_tuple else found


@op("torch.bucketize")
def bucketize(x: Tensor, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    return paddle.searchsorted(boundaries, x, out_int32, right)


@op("torch.searchsorted")
def searchsorted(sorted_sequence: Tensor, values: Any, *, out_int32: bool = False, right: bool = False) -> Tensor:
    return paddle.searchsorted(sorted_sequence, values, out_int32, right)
