# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What one image takes in a training step, by trying it: a forward pass that leaves no trace.

The pass runs at the size that training will see at most, so nothing is extrapolated but the number of images: what
attention and padding of windows take grows otherwise than the picture. Paddle counts each byte that its tensors take.
The backward pass runs only where something is recomputed in it; else it is known: what the layers after a point have
kept is freed by the time it reaches the point, and their weights have gradients.
"""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn
from paddle.base import core

from ..data import random_state
from ..nn.norms import batch_norms

# settings of backbones, neck and decoder that run layers again in the backward pass
RECOMPUTING = ("recompute", "use_checkpoint")


class Allocations:
    """Bytes that Paddle's tensors take on the current device."""

    def __init__(self) -> None:
        name, _, number = paddle.get_device().partition(":")
        self._kind, self._number = "host" if name == "cpu" else "device", int(number or 0)
        self.restart()

    def _value(self, name):
        return getattr(core, f"{self._kind}_memory_stat_{name}_value")("Allocated", self._number)

    def restart(self) -> None:
        """Forget the peak so far."""
        getattr(core, f"{self._kind}_memory_stat_reset_peak_value")("Allocated", self._number)

    @property
    def held(self) -> int:
        """Now."""
        return self._value("current")

    @property
    def peak(self) -> int:
        """Most since ``restart``."""
        return self._value("peak")


@dataclass(frozen=True)
class ImageMemory:
    """What one image takes.

    Attributes:
        height, width: of the image.
        points: at points of the backward pass, (bytes of activations that are there, bytes of gradients that are).
        weights: bytes of all that the model's checkpoint holds.
        trained: bytes of the weights that learn, in float32.
        gradients: bytes of all gradients.
    """

    height: int
    width: int
    points: tuple[tuple[int, int], ...]
    weights: int
    trained: int
    gradients: int

    @property
    def activations(self) -> int:
        """Bytes of activations where they are most."""
        return max(held for held, _ in self.points)

    def peak(self, images: int, gradients_stay: bool = False) -> int:
        """Bytes of activations and gradients where both together are most.

        Args:
            gradients_stay: those of a batch before are there from the start (``accumulate_steps``).
        """
        return max(images * held + (self.gradients if gradients_stay else there) for held, there in self.points)


def is_possible() -> bool:
    """Whether this Paddle counts its memory, and its random numbers can be put back afterwards (not 2.6)."""
    device = paddle.get_device().split(":")[0]
    counts = {"cpu": "host_memory_stat_reset_peak_value", "gpu": "device_memory_stat_reset_peak_value"}
    return hasattr(core, counts.get(device, "-")) and bool(random_state.of_paddle()["cpu"][0][3])


def profile(model: nn.Layer, batch: dict[str, Any], context: Callable[[], contextlib.AbstractContextManager]
            = contextlib.nullcontext) -> ImageMemory:
    """Try ``model`` on a batch of one image.

    Args:
        model: gives a dict with 'loss'. Weights, statistics, gradients and modes come back as they were, and so do
            Paddle's random numbers.
        batch: as the reader gives it; 'image' is [1, 3, H, W].
        context: around the forward pass (mixed precision).
    """
    learning = [parameter for parameter in model.parameters() if not parameter.stop_gradient]
    height, width = batch["image"].shape[-2:]
    with _no_trace(model):
        points = _run(model, batch, context, learning)
    return ImageMemory(int(height), int(width), tuple(points), sum(map(_bytes, model.state_dict().values())),
                   sum(4 * int(parameter.size) for parameter in learning), sum(map(_bytes, learning)))


def recomputes(model: nn.Layer) -> bool:
    """Whether a part of it runs again in the backward pass."""
    return any(getattr(layer, name, False) is True for layer in model.sublayers(include_self=True)
               for name in RECOMPUTING)


def _bytes(tensor):
    return int(tensor.size) * tensor.element_size()


def _run(model, batch, context, learning):
    memory = Allocations()
    before = memory.held
    with _noting(model, lambda: memory.held - before) as calls, context():
        loss = model(batch)["loss"]
    points = [(memory.peak - before, 0), *_backward_points(calls), (0, sum(map(_bytes, learning)))]
    if recomputes(model):
        points += _backward(loss, learning, memory, before)
    return points


@contextlib.contextmanager
def _noting(model, held):
    """[(layer, bytes)] for each call of a layer that has weights of its own.

    The bytes are those held after it, and what its backward pass adds: the gradients of what came in and went out.
    """
    calls: list = []

    def note(layer, inputs, output):
        passing = [value for value in (*inputs, output) if isinstance(value, paddle.Tensor)]
        calls.append((layer, held() + sum(map(_bytes, passing))))

    hooks = [layer.register_forward_post_hook(note) for layer in model.sublayers() if _own(layer)]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _own(layer):
    return [parameter for parameter in layer._parameters.values()
            if parameter is not None and not parameter.stop_gradient]


def _backward_points(calls):
    """When the backward pass has come to a layer, it and those before it hold activations, it and later ones have
    gradients."""
    seen, gradients = set(), 0
    for layer, held in reversed(calls):
        if id(layer) not in seen:
            seen.add(id(layer))
            gradients += sum(map(_bytes, _own(layer)))
        yield held, gradients


def _backward(loss, learning, memory, before):
    """Points of a real backward pass: the peak between one parameter's gradient and the next."""
    points, there = [], 0
    memory.restart()

    def note(parameter):
        nonlocal there
        points.append((memory.peak - before - there, there))
        there += _bytes(parameter)
        memory.restart()

    hooks = [parameter.register_hook(lambda gradient, parameter=parameter: note(parameter)) for parameter in learning]
    try:
        loss.backward()
    finally:
        for hook in hooks:
            hook.remove()
    return points


@contextlib.contextmanager
def _no_trace(model: nn.Layer) -> Iterator[None]:
    """Paddle's random numbers, statistics of norms, gradients and modes are after it what they were."""
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    kept = [(tensor, tensor.clone()) for tensor in _statistics(model)]
    numbers = random_state.of_paddle()
    model.train()
    try:
        with paddle.utils.unique_name.guard():
            yield
    finally:
        random_state.restore_paddle(numbers)
        for tensor, value in kept:
            tensor.set_value(value)
        for layer, mode in modes:
            layer.training = mode
        for parameter in model.parameters():
            parameter.clear_gradient(False)


def _statistics(model: nn.Layer) -> Sequence[paddle.Tensor]:
    """What a forward pass in training changes."""
    return [*model.buffers(), *(tensor for norm in batch_norms(model) for tensor in (norm._mean, norm._variance))]
