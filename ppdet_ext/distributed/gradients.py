# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Gradients averaged over the processes: several train as one with all their images."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import paddle

from . import processes

# gradients travel in pieces of this many numbers
PIECE = 16 * 2**20


def average_gradients(parameters: Sequence[paddle.Tensor]) -> None:
    """Average the gradients over the processes, in place; all call, between backward and the optimizer's step.

    Which parameters have a gradient may differ: a process whose batch has no boxes has none for the denoising labels.
    It counts as zero there, and a parameter that no process has used stays without one. (Paddle's
    ``fused_allreduce_gradients`` sends what there is, and the processes wait for ever or mix up parameters. Its
    ``DataParallel`` with ``find_unused_parameters`` can do it, but sends while backward runs, whose order then differs
    among the processes: with ``sync_bn`` they can block each other.)

    Args:
        parameters: the model's, in the same order everywhere.
    """
    trainable = [parameter for parameter in parameters if not parameter.stop_gradient]
    used = processes.all_reduce_sum(paddle.to_tensor([int(parameter.grad is not None) for parameter in trainable]))
    for piece in _pieces([parameter for parameter, users in zip(trainable, used.numpy()) if users]):
        _average(piece)


def _pieces(parameters: Sequence[paddle.Tensor]) -> Iterator[list[paddle.Tensor]]:
    """The parameters in lists of up to ``PIECE`` numbers (a larger one is alone)."""
    piece: list[paddle.Tensor] = []
    size = 0
    for parameter in parameters:
        if piece and size + parameter.size > PIECE:
            yield piece
            piece, size = [], 0
        piece.append(parameter)
        size += parameter.size
    if piece:
        yield piece


@paddle.no_grad()
def _average(parameters: Sequence[paddle.Tensor]) -> None:
    """In float32, which every backend can send."""
    own = [paddle.zeros(p.shape) if p.grad is None else p.grad.astype("float32") for p in parameters]
    mean = processes.all_reduce_sum(paddle.concat([gradient.reshape([-1]) for gradient in own])) / processes.count()
    for parameter, value in zip(parameters, paddle.split(mean, [parameter.size for parameter in parameters])):
        value = value.reshape(parameter.shape).astype(parameter.dtype)
        if parameter.grad is None:
            parameter.grad = value
        else:
            parameter.grad.set_value(value.astype(parameter.grad.dtype))
