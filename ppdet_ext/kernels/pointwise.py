# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Eager activations, softmax and layer normalisation in oneDNN, see in_onednn.

Paddle 3.3.1 computes them on one thread; the gradient of a layer normalisation of 8,400 rows of 256 takes it 26 ms, and
oneDNN 1.6 on one thread. Small tensors stay in Paddle: there the calls would cost more than the arithmetic.
"""
import functools
import math

import paddle
from paddle.autograd import PyLayer

from . import dispatch
from .onednn import ACTIVATIONS, Activation, LayerNorm, Softmax, operation

SMALL = 1 << 15


def _tried_first(attempt, own):
    @paddle.jit.not_to_static
    @functools.wraps(own)
    def function(*args, **kwargs):
        y = attempt(*args, **kwargs) if args else None
        return own(*args, **kwargs) if y is None else y
    return function


def activation(kind, x, *other, **named):
    """The activation, or None where Paddle is to do it: with further arguments, for one."""
    if _more_given(other, named) or not _is_large(x) or not dispatch.takes(x):
        return None
    found = operation(Activation, kind, math.prod(x.shape))
    if found is None:
        return None
    return _Activation.apply(x, found, kind) if dispatch.learns(x) else _result(found.forward, x)


def softmax(x, axis=-1, *other, **named):
    """Softmax along the last axis, or None."""
    if _more_given(other, named) or not _is_large(x) or axis not in (-1, len(x.shape) - 1):
        return None
    if not dispatch.takes(x):
        return None
    columns = x.shape[-1]
    found = operation(Softmax, math.prod(x.shape) // columns, columns)
    if found is None:
        return None
    return _Softmax.apply(x, found) if dispatch.learns(x) else _result(found.forward, x)


def layer_norm(x, normalized_shape, weight=None, bias=None, epsilon=1e-05, *other, **named):
    """Layer normalisation over the last axis with weight and bias, or None."""
    axes = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)
    if weight is None or bias is None or _more_given(other, named) or not _is_large(x) or axes != [x.shape[-1]]:
        return None
    if not weight.shape == bias.shape == axes or not dispatch.takes(x, weight, bias):
        return None
    found = operation(LayerNorm, math.prod(x.shape) // axes[0], axes[0], epsilon)
    if found is None:
        return None
    if dispatch.learns(x, weight, bias):
        return _LayerNorm.apply(x, weight, bias, found, epsilon)
    return _normalized(found, x, weight, bias)[0]


def _more_given(other, named):
    return any(value is not None and value is not False for value in (*other, *named.values()))


def _is_large(x):
    return isinstance(x, paddle.Tensor) and len(x.shape) > 0 and math.prod(x.shape) >= SMALL


def _result(computation, *inputs):
    """A new tensor like the first input."""
    y = dispatch.empty(inputs[0].shape)
    dispatch.run(computation, *inputs, y)
    return y


class _Activation(PyLayer):
    @staticmethod
    def forward(ctx, x, found, kind):
        y = _result(found.forward, x)
        dispatch.keep(ctx, {"x": x, "y": y}[ACTIVATIONS[kind][2]])
        ctx.found, ctx.kind = found, kind
        return y

    @staticmethod
    def backward(ctx, gradient):
        value, = dispatch.kept(ctx, ctx.kind)
        if paddle.is_grad_enabled():  # for gradients of gradients
            return gradient * SLOPES[ctx.kind](value)
        return _result(ctx.found.backward, value, gradient)


def _silu_slope(x):
    share = paddle.nn.functional.sigmoid(x)
    return share * (1 + x * (1 - share))


def _gelu_slope(x):
    return 0.5 * (1 + paddle.erf(x * 0.5 ** 0.5)) + x * paddle.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


#: derivatives, of what ACTIVATIONS says
SLOPES = {"relu": lambda y: (y > 0).astype(y.dtype), "silu": _silu_slope, "gelu": _gelu_slope}


class _Softmax(PyLayer):
    @staticmethod
    def forward(ctx, x, found):
        y = _result(found.forward, x)
        dispatch.keep(ctx, y)
        ctx.found = found
        return y

    @staticmethod
    def backward(ctx, gradient):
        y, = dispatch.kept(ctx, "softmax")
        if paddle.is_grad_enabled():
            return y * (gradient - (gradient * y).sum(-1, keepdim=True))
        return _result(ctx.found.backward, y, gradient)


def _normalized(found, x, weight, bias):
    """The result, and the rows' means and variances."""
    rows = [math.prod(x.shape[:-1])]
    outputs = dispatch.empty(x.shape), dispatch.empty(rows), dispatch.empty(rows)
    dispatch.run(found.forward, x, weight, bias, *outputs)
    return outputs


class _LayerNorm(PyLayer):
    @staticmethod
    def forward(ctx, x, weight, bias, found, epsilon):
        y, mean, variance = _normalized(found, x, weight, bias)
        dispatch.keep(ctx, x, weight, bias, mean, variance)
        ctx.found, ctx.epsilon, ctx.needed = found, epsilon, [not given.stop_gradient for given in (x, weight, bias)]
        return y

    @staticmethod
    def backward(ctx, gradient):
        x, weight, bias, mean, variance = dispatch.kept(ctx, "a layer normalisation")
        if paddle.is_grad_enabled():
            found = _layer_norm_gradients(x, weight, gradient, ctx.epsilon)
        else:
            found = dispatch.empty(x.shape), dispatch.empty(weight.shape), dispatch.empty(weight.shape)
            dispatch.run(ctx.found.backward, x, weight, bias, mean, variance, gradient, *found)
        return tuple(one if needed else None for one, needed in zip(found, ctx.needed))


def _layer_norm_gradients(x, weight, gradient, epsilon):
    """The same from operations that have gradients themselves."""
    centred = x - x.mean(-1, keepdim=True)
    step = (centred.square().mean(-1, keepdim=True) + epsilon).rsqrt()
    normal, slope, rows = centred * step, gradient * weight, list(range(len(x.shape) - 1))
    of_x = step * (slope - slope.mean(-1, keepdim=True) - normal * (slope * normal).mean(-1, keepdim=True))
    return of_x, (gradient * normal).sum(rows), gradient.sum(rows)


# for the ledger: each takes Paddle's function and returns one that tries oneDNN first
in_place_of_relu = functools.partial(_tried_first, functools.partial(activation, "relu"))
in_place_of_silu = functools.partial(_tried_first, functools.partial(activation, "silu"))
in_place_of_gelu = functools.partial(_tried_first, functools.partial(activation, "gelu"))
in_place_of_softmax = functools.partial(_tried_first, softmax)
in_place_of_layer_norm = functools.partial(_tried_first, layer_norm)
