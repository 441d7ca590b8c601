# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Eager convolutions in oneDNN, see in_onednn; those it would not speed up stay in Paddle."""
import functools
import inspect

import paddle
from paddle.autograd import PyLayer

from . import dispatch, onednn
from .dispatch import empty, run

# what ``attempt`` takes of the arguments of Paddle's _conv_nd
TAKEN = ("x", "weight", "bias", "stride", "padding", "padding_algorithm", "dilation", "groups", "data_format")


def in_place_of_conv_nd(own):
    """``attempt`` before Paddle's ``_conv_nd``, which nn.Conv2D, F.conv2d and F.conv1d call (it knows the bias)."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(own).parameters.items()}

    @functools.wraps(own)
    def _conv_nd(*args, **kwargs):  # the arguments are not the same in Paddle 2.6 and 3
        given = {**defaults, **dict(zip(defaults, args)), **kwargs}
        y = None
        if given["op_type"] in ("conv2d", "depthwise_conv2d"):
            y = attempt(*(given[name] for name in TAKEN))
        return own(*args, **kwargs) if y is None else y
    return _conv_nd


def in_place_of_operations(own):
    """The same before the conv2d of ``paddle._C_ops``, where F.conv2d does not call ``_conv_nd``."""
    return _Operations()


class _Operations:
    """paddle._C_ops with another conv2d."""

    def __getattr__(self, name):
        return getattr(paddle._C_ops, name)

    @staticmethod
    def conv2d(x, weight, stride, padding, padding_algorithm, dilation, groups, data_format):
        y = attempt(x, weight, None, stride, padding, padding_algorithm, dilation, groups, data_format)
        return y if y is not None else paddle._C_ops.conv2d(x, weight, stride, padding, padding_algorithm, dilation,
                                                            groups, data_format)


def attempt(x, weight, bias, stride, padding, algorithm, dilation, groups, data_format):
    """The convolution in oneDNN, or None where Paddle is to do it. Arguments as Paddle's ``_conv_nd`` gets them."""
    tensors = [x, weight] if bias is None else [x, weight, bias]
    if data_format != "NCHW" or not dispatch.takes(*tensors):
        return None
    case = _case(x, weight, bias, stride, padding, algorithm, dilation, groups)
    if case is None or _matrix_product(case) or onednn.convolution(case) is None:
        return None
    if dispatch.learns(*tensors):
        return _Differentiable.apply("y", x, weight, bias, case)
    return _computed("y", case, *tensors)


def _case(x, weight, bias, stride, padding, algorithm, dilation, groups):
    """The ``onednn.Case``, or None for arguments that do not fit together: Paddle has the words for that."""
    shape, kernel = tuple(x.shape), tuple(weight.shape)
    if len(shape) != 4 or len(kernel) != 4 or shape[1] != kernel[1] * groups or kernel[0] % groups:
        return None
    if bias is not None and tuple(bias.shape) != kernel[:1]:
        return None
    stride, dilation = tuple(stride), tuple(dilation)
    if algorithm == "SAME":
        dilation = (1, 1)  # Paddle's kernel does so
        total = [max((-(-size // step) - 1) * step + window - size, 0)
                 for size, step, window in zip(shape[2:], stride, kernel[2:])]
        before, after = tuple(pad // 2 for pad in total), tuple(pad - pad // 2 for pad in total)
    elif algorithm == "VALID":
        before = after = (0, 0)
    else:
        before, after = (tuple(padding),) * 2 if len(padding) == 2 else (tuple(padding[::2]), tuple(padding[1::2]))
    case = onednn.Case(shape, kernel, stride, before, after, dilation, groups, bias is not None)
    return case if min(case.y) > 0 else None


def _matrix_product(case):
    """A 1x1 convolution is a product of matrices in plain layout too, where reorders cost more than oneDNN wins.

    With a bias oneDNN is ahead: Paddle adds it, and sums its gradient, in passes of their own.
    """
    return case.weight[2:] == (1, 1) and case.before == case.after == (0, 0) and case.groups == 1 and not case.bias


#: y follows from x and the weight; a gradient of one of the three from the other two (and theirs)
INPUTS = {"y": ("x", "weight"), "x": ("y", "weight"), "weight": ("y", "x")}
COMPUTATIONS = {"y": "forward", "x": "backward_x", "weight": "backward_weight"}


def _computed(wanted, case, *inputs):
    """A new tensor of ``wanted``'s shape, from ``INPUTS[wanted]`` and, for y, the bias if the case has one."""
    found = empty(getattr(case, wanted))
    run(getattr(onednn.convolution(case), COMPUTATIONS[wanted]), *inputs, found)
    return found


class _Differentiable(PyLayer):
    """``_computed``. A convolution is linear in each operand, so its gradients are such computations themselves."""

    @staticmethod
    def forward(ctx, wanted, first, second, bias, case):
        inputs = [first, second] if bias is None else [first, second, bias]
        ctx.wanted, ctx.case, ctx.needed = wanted, case, [not tensor.stop_gradient for tensor in inputs]
        dispatch.keep(ctx, first, second)
        return _computed(wanted, case, *inputs)

    @staticmethod
    def backward(ctx, gradient):
        first, second = dispatch.kept(ctx, "a convolution")
        names = INPUTS[ctx.wanted]
        known = {names[0]: first, names[1]: second, ctx.wanted: gradient}
        if ctx.needed[1:] == [True, True] and not paddle.is_grad_enabled():
            for_others = _weight_and_bias_gradients(ctx.case, gradient, first)
        else:
            for_others = [_gradient(names[1], known, ctx.case) if ctx.needed[1] else None,
                          *(gradient.sum([0, 2, 3]) if need else None for need in ctx.needed[2:])]
        return (_gradient(names[0], known, ctx.case) if ctx.needed[0] else None, *for_others)


def _gradient(name, known, case):
    inputs = [known[other] for other in INPUTS[name]]
    case = case._replace(bias=False)
    if paddle.is_grad_enabled():  # for gradients of gradients
        return _Differentiable.apply(name, *inputs, None, case)
    return _computed(name, case, *inputs)


def _weight_and_bias_gradients(case, gradient, x):
    found = empty(case.weight), empty(case.weight[:1])
    run(onednn.convolution(case).backward_weight, gradient, x, *found)
    return found
