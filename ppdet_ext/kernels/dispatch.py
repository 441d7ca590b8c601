# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Which eager operations run in oneDNN instead of Paddle, and what they share.

Float32 on a CPU; same values and gradients to float32's rounding. Inside ``kernels.enabled()``. See docs/onednn.md.
"""
import functools
import logging

import paddle

from . import active, eager, onednn

logger = logging.getLogger("ppdet_ext")


@functools.cache
def available():
    """Whether oneDNN is there; the first time that it is not, a line says why."""
    try:
        onednn.library()
    except onednn.Unavailable as reason:
        logger.info("operations on a CPU run in Paddle's own code, not in oneDNN: %s", reason)
        return False
    return True


def takes(*tensors):
    """Whether an operation on these tensors may run in oneDNN."""
    return (active() and paddle.in_dynamic_mode() and all(map(_plain, tensors)) and not eager.mixed_precision()
            and available())


def _plain(tensor):
    return (tensor.dtype == paddle.float32 and tensor.place.is_cpu_place() and not tensor.is_dist()
            and 0 not in tensor.shape)  # tensor.size asks NumPy


def learns(*tensors):
    """Whether an operation on these tensors has to be remembered for gradients."""
    return paddle.is_grad_enabled() and not all(tensor.stop_gradient for tensor in tensors)


def empty(shape):
    return paddle.empty(shape, "float32")  # the default type may be another


def run(computation, *tensors):
    """Outputs come last; they are new, so contiguous. The list keeps copies of the others alive."""
    tensors = [tensor if tensor.is_contiguous() else tensor.contiguous() for tensor in tensors]
    computation(*(tensor.data_ptr() for tensor in tensors))


def keep(ctx, *tensors):
    """Save tensors for the backward pass of a PyLayer."""
    ctx.save_for_backward(*tensors)
    ctx.versions = [tensor.inplace_version for tensor in tensors]


def kept(ctx, what):
    """The saved tensors.

    Raises:
        RuntimeError: one was changed in place since; ``what`` names the operation.
    """
    tensors = ctx.saved_tensor()
    # a view counts its base's changes, and from 0 again once the base is gone: fewer are no change
    if any(tensor.inplace_version > before for tensor, before in zip(tensors, ctx.versions)):
        raise RuntimeError(f"an operand of {what} was changed in place after the forward pass; its gradient needs the "
                           f"old values (operands of shape {', '.join(str(tensor.shape) for tensor in tensors)})")
    return tensors
