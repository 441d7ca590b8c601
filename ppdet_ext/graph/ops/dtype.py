# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Casts. A dtype is a string; what only moves or lays out a tensor does nothing."""
from __future__ import annotations

from typing import Any

from . import _values
from ._table import op
from ._values import DType, Tensor, cast, dtype_of, is_tensor

# the names torch gives its dtypes besides Paddle's
NAMES = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32", "short": "int16"}


@op("getattr.dtype", metadata=True)
def dtype(x: Tensor) -> str:
    return dtype_of(x)


@op("getattr.device", metadata=True)
def device(x: Tensor) -> None:
    """What asks for it has its device arguments dropped."""
    return None


@op(".to", view=True)
def to(x: Tensor, *args: Any, dtype: Any = None, other: Any = None, **kwargs: Any) -> Any:
    """To a dtype or to another tensor's; devices and flags are passed over."""
    for target in (dtype, other, *args):
        if is_tensor(target):
            return cast(x, dtype_of(target))
        if isinstance(target, str) and (target in _values.BITS or target in NAMES):
            return cast(x, NAMES.get(target, target))
    return x


@op(".type_as", view=True)
def type_as(x: Tensor, other: Any) -> Tensor:
    return cast(x, dtype_of(other))


@op(".type", view=True)
def type_(x: Tensor, dtype: DType = None) -> Any:
    return dtype_of(x) if dtype is None else to(x, dtype)


@op(".is_floating_point", "torch.is_floating_point", metadata=True)
def is_floating_point(x: Tensor) -> bool:
    return _values.is_float(x)


def _caster(name, target):
    @op(f".{name}", view=True)
    def apply(x):
        return cast(x, target)

    apply.__name__ = name


for _name, _target in (*NAMES.items(), ("bool", "bool"), ("bfloat16", "bfloat16"), ("byte", "uint8")):
    _caster(_name, _target)
