# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Activation recomputing: less memory, the same numbers."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import paddle
from paddle import nn
from paddle.distributed.fleet.utils import recompute


def recomputed(function: Callable, owners: Sequence[nn.Layer],
               *values: paddle.Tensor) -> paddle.Tensor | list[paddle.Tensor]:
    """``function(*values)``, run again in the backward pass instead of keeping what it computed.

    ``owners`` are the layers it runs: their BatchNorm statistics move in the first run only. Paddle loses the
    parameters' gradients when no value needs one (after a frozen stem), so there the call stays a plain one.
    """
    if all(getattr(value, "stop_gradient", True) for value in values):
        return function(*values)
    runs = []

    def counted(*given):
        runs.append(None)
        with _frozen_statistics(owners) if len(runs) > 1 else contextlib.nullcontext():
            return function(*given)

    return recompute(counted, *values)


@contextlib.contextmanager
def _frozen_statistics(owners):
    norms = [layer for owner in owners for layer in owner.sublayers(include_self=True) if _has_statistics(layer)]
    momenta = [norm._momentum for norm in norms]
    try:
        for norm in norms:
            norm._momentum = 1.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta):
            norm._momentum = momentum


def _has_statistics(layer):
    return isinstance(layer, nn.layer.norm._BatchNormBase)
