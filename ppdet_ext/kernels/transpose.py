# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Transposing on a CPU, eagerly: a copy made at once.

Paddle 3's is a view, which the next operation copies element by element: 23 ms for [4, 2100, 8, 32] where its own
transpose kernel takes 0.9 (3.3.1), in the forward and again in the backward pass.
"""
from __future__ import annotations

import contextlib
from collections.abc import Sequence

import paddle
from paddle.autograd import PyLayer

from . import active
from .dispatch import SelfCheck

VIEWS = "FLAGS_use_stride_kernel"


@paddle.jit.not_to_static
def transposed(x: paddle.Tensor, order: Sequence[int]) -> paddle.Tensor:
    """``paddle.transpose(x, order)``, whose result shares no memory with x where x is an eager tensor on a CPU,
    inside ``kernels.enabled()``."""
    if not (active() and paddle.in_dynamic_mode() and x.place.is_cpu_place() and CHECK.passed()):
        return paddle.transpose(x, order)
    if paddle.is_grad_enabled() and not x.stop_gradient:
        return _Transpose.apply(x, order)
    return _copied(x, order)


class _Transpose(PyLayer):
    @staticmethod
    def forward(ctx, x, order) -> paddle.Tensor:
        ctx.order = order
        return _copied(x, order)

    @staticmethod
    def backward(ctx, grad_output) -> paddle.Tensor:
        rank = len(ctx.order)
        return transposed(grad_output, sorted(range(rank), key=lambda axis: ctx.order[axis] % rank))


CHECK = SelfCheck("transpose", lambda x: _Transpose.apply(x, [0, 2, 1, 3]), lambda x: paddle.transpose(x, [0, 2, 1, 3]),
                  [[2, 3, 4, 5]], tolerance=0.0)


def _copied(x, order):
    x = x if x.is_contiguous() else x.contiguous()  # a view of another kind would be fatal there
    with _without_views():
        return paddle.transpose(x, order)


@contextlib.contextmanager
def _without_views():
    """Not for longer than one operation: without views ``x[:, rows] = values`` is lost (3.3.1)."""
    before = paddle.get_flags(VIEWS)
    paddle.set_flags({VIEWS: False})
    try:
        yield
    finally:
        paddle.set_flags(before)
