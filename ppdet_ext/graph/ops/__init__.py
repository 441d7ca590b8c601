# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The table from torch to Paddle: functions and tensor methods (``OPS``), leaf modules (``LEAVES``).

One file a subject; importing the package fills both.
"""
from paddle.jit import not_to_static

from . import (  # noqa: F401  each import registers
    activations,
    arithmetic,
    compare,
    convolutions,
    create,
    dtype,
    elementwise,
    index,
    interpolate,
    leaves,
    normalize,
    padding,
    pool,
    products,
    reduce,
    rotary,
    scalars,
    shape,
    timm_leaves,
)
from ._table import LEAVES, OPS, leaf, op

__all__ = ["LEAVES", "OPS", "leaf", "op"]

for _entry in OPS.values():  # they branch on numbers and know both modes: nothing for to_static to rewrite
    not_to_static(_entry.function)
