# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the kernels share: which operations they take, tensors saved for a backward pass, a check against Paddle.

Float32 on a CPU; same values and gradients to float32's rounding. Inside ``kernels.enabled()``. See docs/onednn.md.
"""
from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle
from paddle.base import core
from paddle.base.framework import _dygraph_tracer

from . import active, disabled, onednn

logger = logging.getLogger("ppdet_ext")


@functools.cache
def available() -> bool:
    """Whether oneDNN is there; the first time that it is not, a line says why."""
    try:
        onednn.library()
    except onednn.Unavailable as reason:
        logger.info("operations on a CPU run in Paddle's own code, not in oneDNN: %s", reason)
        return False
    return True


def takes(*tensors: paddle.Tensor) -> bool:
    """Whether an operation on these tensors may run in oneDNN."""
    return (active() and paddle.in_dynamic_mode() and all(map(_plain, tensors)) and not mixed_precision()
            and available())


def _plain(tensor):
    return (tensor.dtype == paddle.float32 and tensor.place.is_cpu_place() and not tensor.is_dist()
            and 0 not in tensor.shape)  # tensor.size asks NumPy


def mixed_precision() -> bool:
    """Whether auto_cast is on: it looks at Paddle's own operations, so those must stay."""
    tracer = _dygraph_tracer()
    return tracer is not None and tracer._amp_level != core.AmpLevel.O0


def learns(*tensors: paddle.Tensor) -> bool:
    """Whether an operation on these tensors has to be remembered for gradients."""
    return paddle.is_grad_enabled() and not all(tensor.stop_gradient for tensor in tensors)


def empty(shape: Sequence[int]) -> paddle.Tensor:
    """A float32 tensor without values; Paddle's default type may be another."""
    return paddle.empty(shape, "float32")


def run(computation: Callable, *tensors: paddle.Tensor) -> None:
    """Run a computation of ``onednn``. Outputs come last; they are new, so contiguous."""
    # the list keeps copies of the others alive
    plain = [tensor if tensor.is_contiguous() else tensor.contiguous() for tensor in tensors]
    computation(*(tensor.data_ptr() for tensor in plain))


def keep(ctx: Any, *tensors: paddle.Tensor) -> None:
    """Save tensors for the backward pass of a PyLayer."""
    ctx.save_for_backward(*tensors)
    ctx.versions = [tensor.inplace_version for tensor in tensors]


def kept(ctx: Any, what: str) -> tuple[paddle.Tensor, ...]:
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


#: every SelfCheck there is
CHECKS: list[SelfCheck] = []


class SelfCheck:
    """Compares a kernel with Paddle's own operation, once, at the kernel's first use.

    Args:
        name: what the log calls the kernel.
        kernel, own: take tensors of ``shapes`` and give one; ``own`` runs where the kernels are off.
        tolerance: for the value and all gradients, as max|difference| / max|Paddle's|.
    """

    def __init__(self, name: str, kernel: Callable, own: Callable, shapes: Sequence[Sequence[int]],
                 tolerance: float = 1e-5) -> None:
        self.name, self.shapes, self.tolerance = name, shapes, tolerance
        self._kernel, self._own = kernel, own
        self._verdict: bool | None = None
        CHECKS.append(self)

    def passed(self) -> bool:
        """Whether the kernel may be used. Where it may not, one line of the log says why, the first time."""
        if self._verdict is None:
            self._verdict = False  # nothing uses it while it is looked at
            self._verdict = self._agrees()
        return self._verdict

    def forget(self) -> None:
        """Let the next use be a first one."""
        self._verdict = None

    def difference(self) -> float:
        """The largest max|difference| / max|Paddle's| of the value and the gradients."""
        found = self._results(self._kernel)
        with disabled():
            wanted = self._results(self._own)
        differences = (np.abs(one - other).max() / np.abs(other).max() for one, other in zip(found, wanted))
        return float(max(differences, key=lambda value: (np.isnan(value), value)))

    def _agrees(self):
        try:
            difference = self.difference()
        except Exception as error:  # whatever it is, Paddle's own operation will do
            logger.warning("the kernel '%s' is left out, Paddle's own operation is used: %s: %s", self.name,
                           type(error).__name__, " ".join(str(error).split())[:200])
            return False
        if not difference <= self.tolerance:
            logger.warning("the kernel '%s' is left out, Paddle's own operation is used: they differ by %.1e of the "
                           "largest value (at most %.0e is allowed)", self.name, difference, self.tolerance)
            return False
        return True

    def _results(self, function):
        # numbers of its own, so that the user's random numbers stay as they are
        random = np.random.RandomState(0)
        inputs = [paddle.to_tensor(random.uniform(-1, 1, shape).astype("float32"), place=paddle.CPUPlace(),
                                   stop_gradient=False) for shape in self.shapes]
        with paddle.enable_grad(), paddle.amp.auto_cast(enable=False):
            y = function(*inputs)
            weights = random.uniform(-1, 1, y.shape).astype("float32")
            gradients = paddle.grad(y, inputs, paddle.to_tensor(weights, place=paddle.CPUPlace()))
        return [tensor.numpy() for tensor in (y, *gradients)]
