# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Comparison, logic, and choice by a condition."""
from __future__ import annotations

import operator
from typing import Any

import paddle

from ._table import op
from ._values import Tensor, Value, any_tensor, cast, dtype_of, is_tensor, promote, result_dtype, scalar


def _comparison(name, function, paddle_function):
    """One comparison under all its names: `==`, torch.eq and .eq."""
    @op(f"_operator.{name}", f"torch.{name}", f".{name}")
    def compare(x, other):
        if isinstance(x, (list, tuple)):
            return _compare_shapes(function, x, other)
        if not any_tensor(x, other):
            return function(x, other)
        return paddle_function(*promote(x, other))

    compare.__name__ = name


def _compare_shapes(function, a, b):
    """``x.shape == y.shape``; a size that a static graph leaves open is taken for equal, as guards are."""
    if any(is_tensor(item) for item in (*a, *b)) and len(a) == len(b):
        pairs = [(x, y) for x, y in zip(a, b) if not (is_tensor(x) or is_tensor(y))]
        a, b = ([pair[i] for pair in pairs] for i in (0, 1))
    return function(list(a), list(b))


for _name, _paddle in (("eq", paddle.equal), ("ne", paddle.not_equal), ("gt", paddle.greater_than),
                       ("ge", paddle.greater_equal), ("lt", paddle.less_than), ("le", paddle.less_equal)):
    _comparison(_name, getattr(operator, _name), _paddle)


def _boolean(x):
    return cast(x, "bool") if is_tensor(x) else scalar(bool(x), "bool")


def _logic(name, symbol, logical, bitwise):
    """`&`, torch.bitwise_and, .bitwise_and; booleans go through ``logical``, integers through ``bitwise``."""
    @op(f"_operator.{symbol}", f"_operator.i{symbol.strip('_')}", f"torch.bitwise_{name}", f".bitwise_{name}")
    def combine(x, other):
        if not any_tensor(x, other):
            return getattr(operator, symbol)(x, other)
        x, other = promote(x, other)
        return (logical if dtype_of(x) == "bool" else bitwise)(x, other)

    @op(f"torch.logical_{name}", f".logical_{name}")
    def combine_as_bool(x, other):
        return logical(_boolean(x), _boolean(other))

    combine.__name__, combine_as_bool.__name__ = f"bitwise_{name}", f"logical_{name}"


_logic("and", "and_", paddle.logical_and, paddle.bitwise_and)
_logic("or", "or_", paddle.logical_or, paddle.bitwise_or)
_logic("xor", "xor", paddle.logical_xor, paddle.bitwise_xor)


@op("_operator.invert", "torch.bitwise_not", ".bitwise_not")
def invert(x: Tensor) -> Any:
    if not is_tensor(x):
        return ~x
    return paddle.logical_not(x) if dtype_of(x) == "bool" else paddle.bitwise_not(x)


@op("torch.logical_not", ".logical_not", "_operator.not_")
def logical_not(x: Tensor) -> Any:
    return paddle.logical_not(_boolean(x)) if is_tensor(x) else not x


@op("torch.maximum", ".maximum")
def maximum(x: Tensor, other: Any) -> Tensor:
    return paddle.maximum(*promote(x, other))


@op("torch.minimum", ".minimum")
def minimum(x: Tensor, other: Any) -> Tensor:
    return paddle.minimum(*promote(x, other))


@op("torch.clamp", ".clamp", ".clamp_", "torch.clip", ".clip")
def clamp(x: Tensor, min: Value | None = None, max: Value | None = None) -> Tensor:
    """Bounds are numbers or tensors."""
    if is_tensor(min) or is_tensor(max):
        x = x if min is None else paddle.maximum(*promote(x, min))
        return x if max is None else paddle.minimum(*promote(x, max))
    dtype = result_dtype(x, *(bound for bound in (min, max) if bound is not None))
    return paddle.clip(cast(x, dtype), min, max)


@op("torch.clamp_min", ".clamp_min", ".clamp_min_")
def clamp_min(x: Tensor, min: Value) -> Tensor:
    return clamp(x, min, None)


@op("torch.clamp_max", ".clamp_max", ".clamp_max_")
def clamp_max(x: Tensor, max: Value) -> Tensor:
    return clamp(x, None, max)


@op("torch.where")
def where(condition: Tensor, x: Value, other: Value) -> Tensor:
    x, other = promote(x, other)
    return paddle.where(condition, x, other)


@op(".where")
def where_method(x: Tensor, condition: Tensor, other: Any) -> Tensor:
    return where(condition, x, other)


@op(".masked_fill", ".masked_fill_", "torch.masked_fill")
def masked_fill(x: Tensor, mask: Tensor, value: Value) -> Tensor:
    value = cast(value, dtype_of(x)) if is_tensor(value) else scalar(value, dtype_of(x))
    return paddle.where(mask, value, x)
