# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Arithmetic on tensors, on numbers (sizes) and on 0-D tensors (sizes of a static graph).

Paddle refuses int64 + int32, bool * float and others that torch promotes, so operands meet in ``promote``.
"""
from __future__ import annotations

import operator

import paddle

from ._table import op
from ._values import any_tensor, cast, dtype_of, is_tensor, keeps_dtype, kind, promote, result_dtype


def _agree(a, b):
    """Paddle's operator does as torch's: one dtype, or a Python number beside a tensor of at least its kind."""
    if not is_tensor(a):
        a, b = b, a
    if is_tensor(b):
        return a.dtype == b.dtype and dtype_of(a) != "bool"
    return kind(dtype_of(a)) == "float" or (type(b) is int and dtype_of(a) in ("int32", "int64"))


def _binary(function, a, b):
    """``function`` on the operands, in torch's result dtype."""
    if not any_tensor(a, b) or _agree(a, b):
        return function(a, b)
    return function(*promote(a, b))


@op("_operator.add")
def add(a, b):
    if isinstance(a, (list, tuple)):  # shapes: x.shape[:-1] + (2, 3)
        return list(a) + list(b)
    if any_tensor(a, b) and not _agree(a, b) and result_dtype(a, b) == "bool":
        return paddle.logical_or(*promote(a, b))
    return _binary(operator.add, a, b)


@op("torch.add", ".add")
def add_scaled(a, b, *, alpha=1):
    return add(a, b if alpha == 1 else mul(b, alpha))


@op("_operator.sub")
def sub(a, b):
    return _binary(operator.sub, a, b)


@op("torch.sub", ".sub")
def sub_scaled(a, b, *, alpha=1):
    return sub(a, b if alpha == 1 else mul(b, alpha))


@op("torch.rsub")
def rsub(a, b, *, alpha=1):
    return sub_scaled(b, a, alpha=alpha)


@op("_operator.mul", "torch.mul", ".mul", "torch.multiply", ".multiply")
def mul(a, b):
    if isinstance(a, (list, tuple)):
        return list(a) * b
    if any_tensor(a, b) and not _agree(a, b) and result_dtype(a, b) == "bool":
        return paddle.logical_and(*promote(a, b))
    return _binary(operator.mul, a, b)


@op("_operator.truediv", "torch.true_divide")
def truediv(a, b):
    if not any_tensor(a, b):
        return a / b
    dtype = result_dtype(a, b)
    if kind(dtype) in ("bool", "int"):  # torch divides integers in float32; Paddle in float64 where both are int64
        a, b = (cast(value, "float32") if is_tensor(value) else float(value) for value in (a, b))
    return _binary(operator.truediv, a, b)


@op("_operator.floordiv", "torch.floor_divide", ".floor_divide")
def floordiv(a, b):
    if not any_tensor(a, b):
        return a // b
    a, b = promote(a, b)
    if kind(dtype_of(a)) == "int":  # Paddle 2.6 rounds -7 // 2 towards zero
        return (a - paddle.remainder(a, b)) // b
    return paddle.floor(a / b)


@op("torch.div", ".div", "torch.divide", ".divide")
def div(a, b, *, rounding_mode=None):
    if rounding_mode == "floor":
        return floordiv(a, b)
    if rounding_mode == "trunc":
        result = result_dtype(a, b)
        return cast(paddle.trunc(truediv(a, b)), result)
    return truediv(a, b)


@op("_operator.mod", "torch.remainder", ".remainder")
def mod(a, b):
    """The sign is the divisor's, in Python, torch and ``paddle.remainder``."""
    if not any_tensor(a, b):
        return a % b
    return paddle.remainder(*promote(a, b))


@op("torch.fmod", ".fmod")
def fmod(a, b):
    """The sign is the dividend's."""
    a, b = promote(a, b)
    return a - cast(paddle.trunc(truediv(a, b)), dtype_of(a)) * b


@op("_operator.pow", "torch.pow", ".pow")
def power(a, b):
    if not any_tensor(a, b):
        return a ** b
    if is_tensor(a) and not is_tensor(b):
        if b == 2:
            return a * a
        return paddle.pow(cast(a, result_dtype(a, b)), b)
    return paddle.pow(*promote(a, b))


@op("torch.square", ".square")
def square(x):
    return x * x


@op("_operator.neg", "torch.neg", "torch.negative", ".neg", ".neg_", ".negative")
def neg(x):
    return -x


@op("_operator.pos", "torch.positive")
def positive(x):
    return x


@op("torch.lerp", ".lerp")
def lerp(a, b, weight):
    return a + (b - a) * weight


@op("torch.addcmul", ".addcmul")
def addcmul(x, a, b, *, value=1):
    product = mul(a, b)
    return add(x, product if value == 1 else product * value)


@op("torch.addcdiv", ".addcdiv")
def addcdiv(x, a, b, *, value=1):
    return add(x, mul(truediv(a, b), value))


@op("torch.atan2", ".atan2")
def atan2(a, b):
    """Paddle's does not broadcast what a static graph leaves open."""
    a, b = promote(a, b)
    return paddle.atan2(a + paddle.zeros_like(b), b + paddle.zeros_like(a))


_IN_PLACE = {
    "_operator.iadd": add, "_operator.isub": sub, "_operator.imul": mul, "_operator.itruediv": truediv,
    "_operator.ifloordiv": floordiv, "_operator.imod": mod, "_operator.ipow": power, ".add_": add_scaled,
    ".sub_": sub_scaled, ".mul_": mul, ".div_": div, ".remainder_": mod, ".pow_": power, ".addcmul_": addcmul}
for _name, _function in _IN_PLACE.items():
    op(_name)(keeps_dtype(_function))
