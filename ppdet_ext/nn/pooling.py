# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Global pooling by timm's names."""
from __future__ import annotations

from collections.abc import Callable

import paddle

from ..errors import UserError, nearest

GLOBAL_POOLS = {
    "avg": lambda x: x.mean([2, 3]),
    "max": lambda x: x.max([2, 3]),
    "avgmax": lambda x: 0.5 * (x.mean([2, 3]) + x.max([2, 3])),
    "": lambda x: x,
}


def global_pool(name: str) -> Callable[[paddle.Tensor], paddle.Tensor]:
    """The function [B, C, H, W] -> [B, C] of that name ('' leaves the map as it is).

    Raises:
        UserError: no pooling of that name.
    """
    if name not in GLOBAL_POOLS:
        known = ", ".join(repr(pool) for pool in GLOBAL_POOLS)
        raise UserError(f"global_pool='{name}' is unknown{nearest(name, GLOBAL_POOLS)}; known: {known}")
    return GLOBAL_POOLS[name]
