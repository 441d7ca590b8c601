# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Arithmetic on tensors, on numbers (sizes) and on 0-D tensors (sizes of a static graph).

Paddle refuses int64 + int32, bool * float and others that torch promotes, so operands meet in ``promote``.
"""
from __future__ import annotations

import operator
from typing import Any

import paddle

from ._table import op
from ._values import Tensor, Value, any_tensor, cast, dtype_of, is_tensor, keeps_dtype, kind, promote, result_dtype


def _agree(x, other):
    """Paddle's operator does as torch's: one dtype, or a Python number beside a tensor of at least its kind."""
    if not is_tensor(x):
        x, other = other, x
    if is_tensor(other):
        return x.dtype == other.dtype and dtype_of(x) != "bool"
    return kind(dtype_of(x)) == "float" or (type(other) is int and dtype_of(x) in ("int32", "int64"))


def _binary(function, x, other, of_bools=None):
    """``function`` on the operands, in torch's result dtype; ``of_bools`` where that is bool and Paddle has none."""
    if not any_tensor(x, other) or _agree(x, other):
        return function(x, other)
    x, other = promote(x, other)
    return (of_bools if of_bools and dtype_of(x) == "bool" else function)(x, other)


@op("_operator.add")
def add(x: Any, other: Any) -> Any:
    if isinstance(x, (list, tuple)):  # shapes: x.shape[:-1] + (2, 3)
        return list(x) + list(other)
    return _binary(operator.add, x, _spread(other, x), paddle.logical_or)


def _spread(mask, x):
    """``mask`` as large as x in a middle axis where it has size 1 and needs no gradient, such as Swin's.

    Paddle on a CPU takes six times as long to broadcast that axis in an addition (3.3.1).
    """
    if not (is_tensor(mask) and is_tensor(x) and mask.stop_gradient):
        return mask
    own, shape = mask.shape, x.shape
    if own == shape or len(own) != len(shape):
        return mask
    alike = [one == other for one, other in zip(own, shape)]
    middle = [axis for axis in range(1, len(shape) - 1) if own[axis] == 1 < shape[axis]
              and any(alike[1:axis]) and any(alike[axis + 1:])]
    if not middle:
        return mask
    return mask.expand([shape[axis] if axis in middle else -1 for axis in range(len(shape))])


@op("torch.add", ".add")
def add_scaled(x: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    return add(x, other if alpha == 1 else mul(other, alpha))


@op("_operator.sub")
def sub(x: Tensor, other: Any) -> Value:
    return _binary(operator.sub, x, other)


@op("torch.sub", ".sub")
def sub_scaled(x: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    return sub(x, other if alpha == 1 else mul(other, alpha))


@op("torch.rsub")
def rsub(x: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    return sub_scaled(other, x, alpha=alpha)


@op("_operator.mul", "torch.mul", ".mul", "torch.multiply", ".multiply")
def mul(x: Tensor, other: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return list(x) * other
    return _binary(operator.mul, x, other, paddle.logical_and)


@op("_operator.truediv", "torch.true_divide")
def truediv(x: Value, other: Any) -> Value:
    if not any_tensor(x, other):
        return x / other
    dtype = result_dtype(x, other)
    if kind(dtype) in ("bool", "int"):  # torch divides integers in float32; Paddle in float64 where both are int64
        x, other = (cast(value, "float32") if is_tensor(value) else float(value) for value in (x, other))
    return _binary(operator.truediv, x, other)


@op("_operator.floordiv", "torch.floor_divide", ".floor_divide")
def floordiv(x: Tensor, other: Any) -> Value:
    if not any_tensor(x, other):
        return x // other
    x, other = promote(x, other)
    if kind(dtype_of(x)) == "int":  # Paddle 2.6 rounds -7 // 2 towards zero
        return (x - paddle.remainder(x, other)) // other
    return paddle.floor(x / other)


@op("torch.div", ".div", "torch.divide", ".divide")
def div(x: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    if rounding_mode == "floor":
        return floordiv(x, other)
    if rounding_mode == "trunc":
        result = result_dtype(x, other)
        return cast(paddle.trunc(truediv(x, other)), result)
    return truediv(x, other)


@op("_operator.mod", "torch.remainder", ".remainder")
def mod(x: Tensor, other: Any) -> Value:
    """The sign is the divisor's, in Python, torch and ``paddle.remainder``."""
    if not any_tensor(x, other):
        return x % other
    x, other = promote(x, other)
    return paddle.remainder(x, other)


@op("torch.fmod", ".fmod")
def fmod(x: Tensor, other: Any) -> Tensor:
    """The sign is the dividend's."""
    x, other = promote(x, other)
    return x - cast(paddle.trunc(truediv(x, other)), dtype_of(x)) * other


@op("_operator.pow", "torch.pow", ".pow")
def power(x: Tensor, exponent: Any) -> Value:
    if not any_tensor(x, exponent):
        return x ** exponent
    if is_tensor(x) and not is_tensor(exponent):
        if exponent == 2:
            return x * x
        return paddle.pow(cast(x, result_dtype(x, exponent)), exponent)
    x, exponent = promote(x, exponent)
    return paddle.pow(x, exponent)


@op("torch.square", ".square")
def square(x: Tensor) -> Tensor:
    return x * x


@op("_operator.neg", "torch.neg", "torch.negative", ".neg", ".neg_", ".negative")
def neg(x: Tensor) -> Value:
    return -x


@op("_operator.pos", "torch.positive", view=True)
def positive(x: Tensor) -> Value:
    return x


@op("torch.lerp", ".lerp")
def lerp(x: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    return x + (end - x) * weight


@op("torch.addcmul", ".addcmul")
def addcmul(x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    product = mul(tensor1, tensor2)
    return add(x, product if value == 1 else product * value)


@op("torch.addcdiv", ".addcdiv")
def addcdiv(x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    return add(x, mul(truediv(tensor1, tensor2), value))


@op("torch.atan2", ".atan2")
def atan2(x: Tensor, other: Any) -> Tensor:
    """Paddle's does not broadcast what a static graph leaves open."""
    x, other = promote(x, other)
    return paddle.atan2(x + paddle.zeros_like(other), other + paddle.zeros_like(x))


_IN_PLACE = {
    "_operator.iadd": add, "_operator.isub": sub, "_operator.imul": mul, "_operator.itruediv": truediv,
    "_operator.ifloordiv": floordiv, "_operator.imod": mod, "_operator.ipow": power, ".add_": add_scaled,
    ".sub_": sub_scaled, ".mul_": mul, ".div_": div, ".remainder_": mod, ".pow_": power, ".addcmul_": addcmul}
for _name, _function in _IN_PLACE.items():
    op(_name)(keeps_dtype(_function))
