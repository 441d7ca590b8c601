# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""BatchNorm over the images of all processes, on a CPU; Paddle's SyncBatchNorm has a GPU kernel only."""
from __future__ import annotations

import functools
from collections.abc import Callable

import paddle
import paddle.nn.functional as F
from paddle.autograd import PyLayer

from ..distributed.processes import all_reduce_sum
from .dispatch import keep, kept


def forward_anywhere(own: Callable) -> Callable:
    """For ``SyncBatchNorm.forward``: :func:`forward` for an eager tensor on a CPU."""
    @functools.wraps(own)
    def anywhere(self, x):
        if not paddle.in_dynamic_mode() or not x.place.is_cpu_place():
            return own(self, x)
        self._check_data_format()
        return forward(self, x)
    return anywhere


def convert_once(own: classmethod) -> classmethod:
    """For ``SyncBatchNorm.convert_sync_batchnorm`` (a classmethod): leaves a SyncBatchNorm of any class as it is.

    A frozen norm, too (ppdet's ``freeze_norm``): Paddle's conversion forgets ``use_global_stats``, and the norm would
    take the batch's statistics where one process takes its own.
    """
    convert = own.__func__

    @functools.wraps(convert)
    def once(cls, layer):
        stays = isinstance(layer, paddle.nn.SyncBatchNorm) or getattr(layer, "_use_global_stats", False)
        return layer if stays else convert(cls, layer)
    return classmethod(once)


def forward(norm: paddle.nn.SyncBatchNorm, x: paddle.Tensor) -> paddle.Tensor:
    """What ``norm`` (a SyncBatchNorm) gives for ``x`` [B, C, ...] or, in its NHWC format, [B, ..., C].

    In training mode every process calls this with as many norms in the same order; sizes of their batches may differ.
    """
    if norm.training:
        return _Normalized.apply(x, norm.weight, norm.bias, norm)
    return F.batch_norm(x, norm._mean, norm._variance, norm.weight, norm.bias, training=False,
                        epsilon=norm._epsilon, data_format=_layout(norm, x))


class _Normalized(PyLayer):
    """Sums run in float64: their errors come back enlarged from every following norm."""

    @staticmethod
    def forward(ctx, x, weight, bias, norm) -> paddle.Tensor:
        ctx.axes, ctx.shape = _other_axes(norm, x)
        wide = x.astype("float64")
        ones = paddle.full(weight.shape, x.size // weight.size, "float64")
        sums = all_reduce_sum(paddle.stack([ones, wide.sum(ctx.axes), (wide * wide).sum(ctx.axes)]), wait=False)
        ctx.number, mean = sums[0], sums[1] / sums[0]
        variance = (sums[2] / sums[0] - mean * mean).clip(min=0.0)
        _remember(norm, mean, variance)
        scale = (variance + norm._epsilon).rsqrt()
        normal = ((wide - mean.reshape(ctx.shape)) * scale.reshape(ctx.shape)).astype("float32")
        keep(ctx, normal, weight, scale)
        return (normal * weight.reshape(ctx.shape) + bias.reshape(ctx.shape)).astype(x.dtype)

    @staticmethod
    def backward(ctx, grad_output) -> tuple:
        """Gradients of the sum of all processes' losses for ``x``; of this one's own for weight and bias."""
        normal, weight, scale = kept(ctx, "a SyncBatchNorm")
        kind = weight.dtype
        wide = grad_output.astype("float64")
        normal, weight = normal.astype("float64"), weight.astype("float64")
        own = paddle.stack([wide.sum(ctx.axes), (wide * normal).sum(ctx.axes)])
        mean, along = (part.reshape(ctx.shape) for part in all_reduce_sum(own, wait=False) / ctx.number)
        for_x = (wide - mean - normal * along) * (weight * scale).reshape(ctx.shape)
        return for_x.astype(grad_output.dtype), own[1].astype(kind), own[0].astype(kind)


def _other_axes(norm, x):
    """Axes that statistics run over, and the shape that lays a value per channel over ``x``."""
    channel = x.ndim - 1 if norm._data_format == "NHWC" else 1
    return ([axis for axis in range(x.ndim) if axis != channel],
            [-1 if axis == channel else 1 for axis in range(x.ndim)])


def _remember(norm, mean, variance):
    """Move the running statistics as Paddle's BatchNorm does."""
    for running, new in ((norm._mean, mean), (norm._variance, variance)):
        running.set_value(running * norm._momentum + new.astype(running.dtype) * (1 - norm._momentum))


def _layout(norm, x):
    """F.batch_norm's name of the layout; SyncBatchNorm shortens its own to NCHW or NHWC."""
    last = norm._data_format == "NHWC"
    return {2: "NC", 3: "NLC" if last else "NCL", 4: "NHWC" if last else "NCHW",
            5: "NDHWC" if last else "NCDHW"}[x.ndim]
