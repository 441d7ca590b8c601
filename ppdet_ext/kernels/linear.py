# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Fully connected layers for training on a CPU.

Paddle's gradient of an added bias sums over the rows with one thread and takes longer than both matrix products
together (3.3.1: 19 of 31 ms for 8400 rows of 256). As a product with a row of ones it takes 0.2 ms. Adding the bias,
spread over the rows by Paddle, takes 1.2 ms there, and 0.6 where a product spreads it; the values are the same.
"""
import functools
import math

import paddle
from paddle.autograd import PyLayer

from . import active, eager


def repeated(row, count):
    """[M] -> [count, M], as a product with ones, which is exact: 0.04 ms for [2000, 384] on a CPU. Arithmetic with the
    row itself takes 2.4 ms there, as Paddle 3.3.1 broadcasts with one thread, number by number."""
    return paddle.matmul(paddle.ones([count, 1], row.dtype), row.unsqueeze(0))


class Linear(PyLayer):
    """x [..., in], weight [in, out], bias [out] -> [..., out]."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        ctx.wanted = [not tensor.stop_gradient for tensor in (x, weight, bias)]
        product = paddle.matmul(x, weight)
        return product.add_(repeated(bias, math.prod(x.shape[:-1])).reshape(product.shape))

    @staticmethod
    def backward(ctx, slope):
        x, weight = ctx.saved_tensor()
        rows = slope.reshape([-1, slope.shape[-1]])
        gradients = (lambda: paddle.matmul(slope, weight, transpose_y=True),
                     lambda: paddle.matmul(x.reshape([-1, x.shape[-1]]), rows, transpose_x=True),
                     lambda: paddle.matmul(paddle.ones([1, rows.shape[0]], rows.dtype), rows)[0])
        # Paddle wants a gradient for each input that learns and none for the others
        return tuple(gradient() if wanted else None for gradient, wanted in zip(gradients, ctx.wanted))


def in_place_of_linear(own):
    """``Linear`` before ``paddle.nn.functional.linear`` where it trains on a CPU."""
    @paddle.jit.not_to_static
    @functools.wraps(own)
    def linear(x, weight, bias=None, name=None):
        if bias is not None and paddle.in_dynamic_mode() and _trains_on_cpu(x, bias):
            return Linear.apply(x, weight, bias)
        return own(x, weight, bias, name)
    return linear


def _trains_on_cpu(x, bias):
    return (active() and not bias.stop_gradient and paddle.is_grad_enabled() and bias.place.is_cpu_place() and 0 not in x.shape
            and x.dtype == bias.dtype and not eager.mixed_precision())
