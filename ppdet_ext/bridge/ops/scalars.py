# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Functions of Python numbers (sizes), which in a static graph may be 0-D tensors."""
from __future__ import annotations

import math

import paddle

from ._table import op
from ._values import any_tensor, cast, is_tensor, promote


def _whole(function, paddle_function):
    return lambda x: paddle_function(cast(x, "float32")).astype("int64") if is_tensor(x) else function(x)


def _real(function, paddle_function):
    return lambda x: paddle_function(cast(x, "float32")) if is_tensor(x) else function(x)


op("math.ceil")(_whole(math.ceil, paddle.ceil))
op("math.floor")(_whole(math.floor, paddle.floor))
op("math.trunc", "builtins.int", "torch.sym_int")(_whole(math.trunc, paddle.trunc))
op("math.sqrt")(_real(math.sqrt, paddle.sqrt))
op("math.exp")(_real(math.exp, paddle.exp))
op("math.log")(_real(math.log, paddle.log))
op("math.log2")(_real(math.log2, paddle.log2))
op("builtins.float", "torch.sym_float")(_real(float, lambda x: x))


@op("builtins.max", "torch.sym_max")
def max_number(*values):
    return _extreme(max, paddle.maximum, *values)


@op("builtins.min", "torch.sym_min")
def min_number(*values):
    return _extreme(min, paddle.minimum, *values)


def _extreme(function, paddle_function, *values):
    values = list(values[0]) if len(values) == 1 else list(values)
    if not any_tensor(*values):
        return function(values)
    best = values[0]
    for value in values[1:]:
        best = paddle_function(*promote(best, value))
    return best
