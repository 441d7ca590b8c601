# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Transposing on a CPU, eagerly: a copy made at once.

Paddle 3's is a view, which the next operation copies element by element: 23 ms for [4, 2100, 8, 32] where its own
transpose kernel takes 0.9 (3.3.1), in the forward and again in the backward pass.
"""
import contextlib

import paddle
from paddle.autograd import PyLayer

from . import active

VIEWS = "FLAGS_use_stride_kernel"


@paddle.jit.not_to_static
def transposed(x, order):
    """``paddle.transpose(x, order)``, whose result shares no memory with x where x is an eager tensor on a CPU,
    inside ``kernels.enabled()``."""
    if not active() or not paddle.in_dynamic_mode() or not x.place.is_cpu_place():
        return paddle.transpose(x, order)
    if paddle.is_grad_enabled() and not x.stop_gradient:
        return _Transpose.apply(x, order)
    return _copied(x, order)


class _Transpose(PyLayer):
    @staticmethod
    def forward(ctx, x, order):
        ctx.order = order
        return _copied(x, order)

    @staticmethod
    def backward(ctx, gradient):
        rank = len(ctx.order)
        return transposed(gradient, sorted(range(rank), key=lambda axis: ctx.order[axis] % rank))


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
