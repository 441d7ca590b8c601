# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Shapes read and changed. Sizes may be 0-D tensors of a static graph."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from ...kernels.transpose import transposed
from . import _values
from ._table import op
from ._values import Dims, Sizes, Tensor, UserError, any_tensor, axis, cast, dtype_of, is_tensor, known, listed


@op("getattr.shape", metadata=True)
def shape(x: Tensor) -> list[Any]:
    return _values.sizes(x)


@op(".size", metadata=True)
def size(x: Tensor, dim: Any = None) -> Any:
    return _values.sizes(x) if dim is None else _values.size(x, dim)


@op("getattr.ndim", ".dim", ".ndimension", metadata=True)
def ndim(x: Tensor) -> int:
    return x.ndim


@op(".numel", ".nelement", "torch.numel", metadata=True)
def numel(x: Tensor) -> Any:
    count = 1
    for item in _values.sizes(x):
        count = count * item
    return count


@op("builtins.len", metadata=True)
def length(x: Any) -> Any:
    return _values.size(x, 0) if is_tensor(x) else len(x)


@op("getattr.T", ".t", "torch.t", view=True)
def reverse_dims(x: Tensor) -> Tensor:
    return transposed(x, list(range(x.ndim))[::-1])


@op("getattr.mT", view=True)
def matrix_transpose(x: Tensor) -> Tensor:
    return transpose(x, -2, -1)


@op("torch.transpose", ".transpose", "torch.swapaxes", ".swapaxes", "torch.swapdims", ".swapdims", view=True)
def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    order = list(range(x.ndim))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return transposed(x, order)


@op("torch.permute", ".permute", view=True)
def permute(x: Tensor, *order: Any, dims: Dims = None) -> Tensor:
    return transposed(x, [axis(x, dim) for dim in dims or listed(order)])


@op("torch.movedim", ".movedim", "torch.moveaxis", ".moveaxis", view=True)
def movedim(x: Tensor, source: Any, destination: Any) -> Tensor:
    source, destination = (list(dims) if isinstance(dims, tuple) else dims for dims in (source, destination))
    return paddle.moveaxis(x, source, destination)


def to_shape(x: Tensor, sizes: Any) -> Tensor:
    """Reshape. One open size becomes -1, which Paddle keeps as an attribute rather than as a tensor to compute."""
    open_sizes = [i for i, item in enumerate(sizes) if is_tensor(item)]
    if len(open_sizes) == 1 and -1 not in [item for item in sizes if not is_tensor(item)]:
        sizes = [-1 if is_tensor(item) else item for item in sizes]
        open_sizes = []
    if not open_sizes and 0 in sizes:  # Paddle reads 0 as "keep this dimension"
        return paddle.zeros(sizes, x.dtype)
    return paddle.reshape(x, sizes)


@op("torch.reshape", ".reshape", ".view", view=True)
def reshape(x: Tensor, *sizes: Any, shape: Sizes | None = None) -> Tensor:
    return to_shape(x, list(shape) if shape is not None else listed(sizes))


@op(".reshape_as", ".view_as", view=True)
def reshape_as(x: Tensor, other: Any) -> Tensor:
    return to_shape(x, _values.sizes(other))


@op("torch.flatten", ".flatten", view=True)
def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    return paddle.flatten(x, start_dim, end_dim)


@op("torch.unflatten", ".unflatten", view=True)
def unflatten(x: Tensor, dim: int, sizes: Any) -> Tensor:
    dim = axis(x, dim)
    around = _values.sizes(x)
    return to_shape(x, [*around[:dim], *sizes, *around[dim + 1:]])


@op("torch.squeeze", ".squeeze", view=True)
def squeeze(x: Tensor, dim: Dims = None) -> Tensor:
    return paddle.squeeze(x, dim if dim is None or isinstance(dim, int) else list(dim))


@op("torch.unsqueeze", ".unsqueeze", view=True)
def unsqueeze(x: Tensor, dim: int) -> Tensor:
    return paddle.unsqueeze(x, dim)


@op(".contiguous", ".requires_grad_", ".cpu", view=True)
@op(".clone", "torch.clone")
def same(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Nothing is ever changed in place, so a copy is not needed."""
    return x


@op(".detach", "torch.detach", ".detach_", view=True)
def detach(x: Tensor) -> Tensor:
    return x.detach()


def expand_to(x: Tensor, sizes: Any) -> Tensor:
    """Paddle's expand has no booleans in every version."""
    if dtype_of(x) == "bool":
        return paddle.expand(x.astype("int32"), sizes).astype("bool")
    return paddle.expand(x, sizes)


@op(".expand", "torch.broadcast_to", ".broadcast_to", view=True)
def expand(x: Tensor, *sizes: Any, size: Sizes | None = None) -> Tensor:
    """-1 keeps a dimension."""
    return expand_to(x, list(size) if size is not None else listed(sizes))


@op(".expand_as", view=True)
def expand_as(x: Tensor, other: Any) -> Tensor:
    return expand_to(x, _values.sizes(other))


@op("torch.broadcast_tensors", "torch.functional.broadcast_tensors", view=True)
def broadcast_tensors(*tensors: Any) -> list[Tensor]:
    return paddle.broadcast_tensors(listed(tensors))


@op(".repeat", "torch.tile", ".tile")
def repeat(x: Tensor, *repeats: Any, dims: Dims = None) -> Tensor:
    return paddle.tile(x, list(dims) if dims is not None else listed(repeats))


@op("torch.repeat_interleave", ".repeat_interleave")
def repeat_interleave(x: Tensor, repeats: Any, dim: int | None = None, output_size: Sizes | None = None) -> Tensor:
    if dim is None:
        x, dim = paddle.flatten(x), 0
    if is_tensor(repeats) and repeats.ndim:
        return paddle.repeat_interleave(x, repeats, dim)
    dim = axis(x, dim)
    copies = [1] * (x.ndim + 1)
    copies[dim + 1] = repeats
    around = _values.sizes(x)
    return to_shape(paddle.tile(paddle.unsqueeze(x, dim + 1), copies),
                    [*around[:dim], around[dim] * repeats, *around[dim + 1:]])


@op("torch.cat", "torch.concat", "torch.concatenate")
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """As in torch, an empty 1-D tensor may stand among others."""
    tensors = [x for x in tensors if x.ndim > 1 or x.shape[0] != 0] or list(tensors)
    dtypes = {dtype_of(x) for x in tensors}
    if len(dtypes) > 1:
        dtype = _values.result_dtype(*tensors)
        tensors = [cast(x, dtype) for x in tensors]
    return paddle.concat(tensors, dim)


@op("torch.stack")
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    dtype = _values.result_dtype(*tensors)
    return paddle.stack([cast(x, dtype) for x in tensors], dim)


@op("torch.hstack")
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    return cat(tensors, 0 if tensors[0].ndim == 1 else 1)


@op("torch.vstack")
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    return cat([paddle.unsqueeze(x, 0) if x.ndim == 1 else x for x in tensors], 0)


@op("torch.unbind", ".unbind", view=True)
def unbind(x: Tensor, dim: int = 0) -> list[Tensor]:
    known(_values.size(x, dim), "the number of tensors unbind gives")
    return paddle.unbind(x, axis(x, dim))


def _slice(x, dim, start, end):
    return paddle.slice(x, [dim], [start], [end])


def _pieces(x, dim, lengths):
    """Slices of these lengths, one after the other; ``paddle.split`` knows no empty ones."""
    if not any_tensor(*lengths) and 0 not in lengths:
        return paddle.split(x, lengths, dim) if len(lengths) > 1 else [x]
    found, start = [], 0
    for item in lengths:
        found.append(_slice(x, dim, start, start + item))
        start = start + item
    return found


@op("torch.split", "torch.functional.split", ".split", ".split_with_sizes", "torch.split_with_sizes", view=True)
def split(x: Tensor, split_size_or_sections: Any = None, dim: int = 0, split_size: int | None = None,
          split_sizes: Sizes | None = None) -> list[Tensor]:
    """By the length of each piece (the last may be shorter), or by the list of lengths."""
    lengths = next(item for item in (split_size_or_sections, split_size, split_sizes) if item is not None)
    dim = axis(x, dim)
    if isinstance(lengths, (list, tuple)):
        return _pieces(x, dim, list(lengths))
    total = _values.size(x, dim)
    if any_tensor(lengths, total):
        raise UserError("the number of pieces of a split depends on the image size: export with a fixed image size")
    return _pieces(x, dim, [min(lengths, total - start) for start in range(0, total, lengths)] or [total])


@op("torch.chunk", ".chunk", view=True)
def chunk(x: Tensor, chunks: int, dim: int = 0) -> list[Tensor]:
    """Pieces of ceil(size / chunks), so the last is shorter and there may be fewer; Paddle's must be equal."""
    dim = axis(x, dim)
    total = _values.size(x, dim)
    length = (total + chunks - 1) // chunks
    if is_tensor(total):
        return [_slice(x, dim, length * i, length * (i + 1)) for i in range(chunks)]
    return split(x, max(length, 1), dim) if total else [x] * chunks


@op("torch.tensor_split", ".tensor_split", view=True)
def tensor_split(x: Tensor, indices_or_sections: Any, dim: int = 0) -> list[Tensor]:
    """By a number of pieces (the first ones longer by one), or by the indices where to cut."""
    dim = axis(x, dim)
    total = known(_values.size(x, dim), "where tensor_split cuts")
    if isinstance(indices_or_sections, int):
        length, longer = divmod(total, indices_or_sections)
        lengths = [length + (i < longer) for i in range(indices_or_sections)]
    else:
        cuts = [0, *indices_or_sections, total]
        lengths = [end - start for start, end in zip(cuts, cuts[1:])]
    return _pieces(x, dim, lengths)


@op("torch.roll", ".roll")
def roll(x: Tensor, shifts: Any, dims: Dims = None) -> Tensor:
    shifts = list(shifts) if isinstance(shifts, (list, tuple)) else shifts
    dims = list(dims) if isinstance(dims, (list, tuple)) else dims
    if not isinstance(shifts, list) or not any_tensor(*shifts):
        return paddle.roll(x, shifts, dims)
    for shift, dim in zip(shifts, dims):  # a list of shifts must be all numbers or one tensor
        x = paddle.roll(x, shift, dim)
    return x


@op("torch.flip", ".flip")
def flip(x: Tensor, *places: Any, dims: Dims = None) -> Tensor:
    return paddle.flip(x, [axis(x, dim) for dim in dims or listed(places)])


@op("torch.rot90", ".rot90")
def rot90(x: Tensor, k: int = 1, dims: Dims = (0, 1)) -> Tensor:
    return paddle.rot90(x, k, list(dims))


@op(".unfold", view=True)
def unfold(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows along a dimension, as a new last one. Paddle's own works in dynamic mode only."""
    dim = axis(x, dimension)
    count = (_values.size(x, dim) - size) // step + 1
    starts = paddle.arange(0, count * step, step, dtype="int64") if isinstance(count, int) else \
        paddle.arange(count).astype("int64") * step
    index = paddle.unsqueeze(starts, 1) + paddle.arange(size, dtype="int64")
    windows = paddle.index_select(x, paddle.flatten(index), dim)
    around = _values.sizes(x)
    windows = paddle.reshape(windows, [*around[:dim], count, size, *around[dim + 1:]])
    return paddle.moveaxis(windows, dim + 1, -1)
