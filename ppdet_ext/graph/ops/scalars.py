# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Functions of Python numbers (sizes), which in a static graph may be 0-D tensors."""
from __future__ import annotations

import math
from typing import Any

import paddle

from ._table import op
from ._values import any_tensor, cast, is_tensor, promote


def _number(names, function, paddle_function, dtype=None):
    """A function of a number; ``paddle_function`` of a size that a static graph leaves open, in float32."""
    @op(*names.split())
    def apply(x):
        return cast(paddle_function(cast(x, "float32")), dtype) if is_tensor(x) else function(x)

    apply.__name__ = function.__name__


_WHOLE: tuple[tuple[str, Any, Any], ...] = (
    ("math.ceil", math.ceil, paddle.ceil), ("math.floor", math.floor, paddle.floor),
    ("math.trunc builtins.int torch.sym_int", math.trunc, paddle.trunc))
for _names, _function, _paddle in _WHOLE:
    _number(_names, _function, _paddle, "int64")
_FLOATS: tuple[tuple[str, Any, Any], ...] = (
    ("math.sqrt", math.sqrt, paddle.sqrt), ("math.exp", math.exp, paddle.exp), ("math.log", math.log, paddle.log),
    ("math.log2", math.log2, paddle.log2), ("builtins.float torch.sym_float", float, lambda x: x))
for _names, _function, _paddle in _FLOATS:
    _number(_names, _function, _paddle)


@op("builtins.max", "torch.sym_max")
def max_number(*values: Any) -> Any:
    return _extreme(max, paddle.maximum, *values)


@op("builtins.min", "torch.sym_min")
def min_number(*values: Any) -> Any:
    return _extreme(min, paddle.minimum, *values)


def _extreme(function, paddle_function, *values):
    values = list(values[0]) if len(values) == 1 else list(values)
    if not any_tensor(*values):
        return function(values)
    best = values[0]
    for value in values[1:]:
        best = paddle_function(*promote(best, value))
    return best
