# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Eager float32 convolutions on a CPU run in oneDNN; every other one, and those it would not speed up, in Paddle.

Same values and gradients to float32's rounding. PPDET_EXT_ONEDNN=0 turns it off. See docs/onednn.md.
"""
import functools
import os

import paddle
from paddle.autograd import PyLayer

from . import onednn
from .registry import logger

SWITCH = "PPDET_EXT_ONEDNN"


def install():
    """Put ``attempt`` before the convolutions that nn.Conv2D, F.conv2d and F.conv1d call.

    All of them go through two names of Paddle's module: ``_conv_nd`` (which knows the bias) and ``_C_ops``.
    """
    module = paddle.nn.functional.conv
    own = module._conv_nd
    if os.environ.get(SWITCH) == "0" or hasattr(own, "__wrapped__"):
        return

    @functools.wraps(own)
    def _conv_nd(x, weight, bias=None, stride=1, padding=0, padding_algorithm=None, dilation=1, groups=1,
                 data_format="NCHW", channel_dim=1, op_type="conv2d", use_cudnn=True, name=None):
        y = None
        if op_type in ("conv2d", "depthwise_conv2d"):
            y = attempt(x, weight, bias, stride, padding, padding_algorithm, dilation, groups, data_format)
        return y if y is not None else own(x, weight, bias, stride, padding, padding_algorithm, dilation, groups,
                                           data_format, channel_dim, op_type, use_cudnn, name)

    module._conv_nd, module._C_ops = _conv_nd, _Operations()


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
    if data_format != "NCHW" or not paddle.in_dynamic_mode() or not all(map(_plain, tensors)) or _mixed_precision():
        return None
    case = _case(x, weight, bias, stride, padding, algorithm, dilation, groups)
    if case is None or _matrix_product(case) or not available() or onednn.convolution(case) is None:
        return None
    if paddle.is_grad_enabled() and not all(tensor.stop_gradient for tensor in tensors):
        return _Differentiable.apply(x, weight, bias, case)
    return _forward(case, tensors)


@functools.lru_cache(maxsize=None)
def available():
    """Whether oneDNN is there; the first time that it is not, a line says why."""
    try:
        onednn.library()
    except onednn.Unavailable as reason:
        logger.info("convolutions on a CPU run in Paddle's own code, not in oneDNN: %s", reason)
        return False
    return True


def _plain(tensor):
    return (tensor.dtype == paddle.float32 and tensor.place.is_cpu_place() and not tensor.is_dist()
            and tensor.size > 0)


def _mixed_precision():
    tracer = paddle.base.framework._dygraph_tracer()
    return tracer is not None and tracer._amp_level != paddle.base.core.AmpLevel.O0


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
    """A 1x1 convolution is one product of matrices in plain layout, where reorders cost what oneDNN wins.

    With a bias oneDNN is ahead: Paddle adds it, and sums its gradient, in passes of their own.
    """
    return (case.weight[2:] == case.stride == (1, 1) and case.before == case.after == (0, 0) and case.groups == 1
            and not case.bias)


def _forward(case, tensors):
    y = paddle.empty(case.y)
    _run(onednn.convolution(case).forward, *tensors, y)
    return y


def _run(computation, *tensors):
    """The last ones are written to: new, so contiguous. The list keeps copies of the others alive."""
    tensors = [tensor if tensor.is_contiguous() else tensor.contiguous() for tensor in tensors]
    computation(*(tensor.data_ptr() for tensor in tensors))


class _Differentiable(PyLayer):
    @staticmethod
    def forward(ctx, x, weight, bias, case):
        tensors = [x, weight] if bias is None else [x, weight, bias]
        ctx.case, ctx.needed = case, [not tensor.stop_gradient for tensor in tensors]
        ctx.save_for_backward(x, weight)
        ctx.versions = x.inplace_version, weight.inplace_version
        return _forward(case, tensors)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensor()
        if (x.inplace_version, weight.inplace_version) != ctx.versions:
            raise RuntimeError(f"a convolution's input {x.shape} or weight {weight.shape} was changed in place after "
                               "the forward pass; its gradient needs the old values")
        differentiate = _differentiable_gradients if paddle.is_grad_enabled() else _gradients
        found = differentiate(ctx.case, ctx.needed, x, weight, gradient)
        return tuple(found) if len(found) > 1 else found[0]


def _gradients(case, needed, x, weight, gradient):
    """Of x, weight and, if the case has one, the bias; None for what nobody needs."""
    for_x, for_weight, for_bias = [*needed, False][:3]
    found = [None] * len(needed)
    if for_x:
        found[0] = paddle.empty(case.x)
        _run(onednn.convolution(case).backward_x, gradient, weight, found[0])
    if for_weight:
        found[1] = paddle.empty(case.weight)
        if for_bias:
            found[2] = paddle.empty(case.weight[:1])
        _run(onednn.convolution(case._replace(bias=for_bias)).backward_weight, gradient, x,
             *(part for part in found[1:] if part is not None))
    elif for_bias:
        found[2] = gradient.sum([0, 2, 3])
    return found


def _differentiable_gradients(case, needed, x, weight, gradient):
    """The same through Paddle's operations, for gradients of gradients (``create_graph``)."""
    padding = [side for pair in zip(case.before, case.after) for side in pair]
    y = paddle._C_ops.conv2d(x, weight, list(case.stride), padding, "EXPLICIT", list(case.dilation), case.groups,
                             "NCHW")
    wanted = [tensor for tensor, need in zip((x, weight), needed) if need]
    found = iter(paddle.grad(y, wanted, gradient, create_graph=True) if wanted else [])
    by_operand = [next(found) if need else None for need in needed[:2]]
    return by_operand + [gradient.sum([0, 2, 3]) if need else None for need in needed[2:]]
