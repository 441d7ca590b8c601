# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Functions of one tensor, element by element."""
from __future__ import annotations

import paddle

from ._table import op
from ._values import Tensor, Value, cast, dtype_of, is_tensor, kind


def _elementwise(name, function, *more):
    """torch.exp, .exp and .exp_. Integers become float32 first, as in torch."""
    @op(f"torch.{name}", f".{name}", f".{name}_", *more)
    def apply(x):
        return function(x if kind(dtype_of(x)) in ("float", "complex") else cast(x, "float32"))

    apply.__name__ = name


for _name in ("exp", "log", "log2", "log10", "log1p", "expm1", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
              "cosh", "asinh", "acosh", "atanh", "sqrt", "rsqrt", "erf", "reciprocal"):
    _elementwise(_name, getattr(paddle, _name))
_elementwise("tanh", paddle.tanh, "torch.nn.functional.tanh")
_elementwise("sigmoid", paddle.nn.functional.sigmoid, "torch.nn.functional.sigmoid",
             "torch._C._special.special_expit")


def _keeps_dtype(name, function):
    """A function whose result has the input's dtype, integers included."""
    @op(f"torch.{name}", f".{name}", f".{name}_")
    def apply(x):
        return function(x) if kind(dtype_of(x)) == "float" else cast(function(cast(x, "float32")), dtype_of(x))

    apply.__name__ = name


for _name, _paddle in (("floor", paddle.floor), ("ceil", paddle.ceil), ("trunc", paddle.trunc), ("sign", paddle.sign)):
    _keeps_dtype(_name, _paddle)


@op("torch.abs", ".abs", ".abs_", "_operator.abs", "builtins.abs")
def absolute(x: Tensor) -> Value:
    return paddle.abs(x) if is_tensor(x) else abs(x)


@op("torch.isfinite", ".isfinite")
def isfinite(x: Tensor) -> Tensor:
    return paddle.isfinite(x)


@op("torch.isnan", ".isnan")
def isnan(x: Tensor) -> Tensor:
    return paddle.isnan(x)


@op("torch.isinf", ".isinf")
def isinf(x: Tensor) -> Tensor:
    return paddle.isinf(x)


def _half_to_even(x):
    """Paddle rounds 2.5 to 3, torch to the even 2."""
    rounded = paddle.floor(x + 0.5)
    odd_half = paddle.logical_and(rounded - x == 0.5, paddle.remainder(rounded, paddle.full_like(x, 2.0)) == 1.0)
    return paddle.where(odd_half, rounded - 1, rounded)


@op("torch.round", ".round", "builtins.round")
def round_(x: Value, decimals: int = 0, ndigits: int | None = None) -> Value:
    decimals = decimals if ndigits is None else ndigits
    if not is_tensor(x):
        return round(x, decimals) if decimals else round(x)
    if kind(dtype_of(x)) != "float":
        return x
    scale = 10.0 ** decimals
    return _half_to_even(x) if decimals == 0 else _half_to_even(x * scale) / scale
