# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""When weights move: after every batch, or after ``accumulate_steps`` batches that count as one.

ppdet's loop calls ``loss.backward()``, ``optimizer.step()``, ``lr.step()``, ``optimizer.clear_grad()`` and
``ema.update()`` batch by batch. Here stand-ins take these calls and pass them on when a group of batches is complete,
so that schedule, warm-up and average count optimizer steps, as they would with the larger batch.
"""
import contextlib
import types

from ..errors import UserError
from . import precision


class Steps:
    """Groups the batches of an epoch; its last group may be smaller.

    Args:
        batches: batches of an epoch.
        every: batches of a group (``accumulate_steps``).
        scaler: paddle.amp.GradScaler.
    Attributes:
        complete: the batch that was last begun ends its group.
    Raises:
        UserError: ``every`` is no whole number above 0.
    """

    def __init__(self, batches, every, scaler):
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise UserError(f"accumulate_steps is {every!r}; it takes the number of batches that count as one, from 1")
        self.batches, self.every, self.scaler = batches, every, scaler
        self.done, self.complete = 0, False

    @property
    def per_epoch(self):
        return -(-self.batches // self.every)

    def begin(self, loss):
        """Note a batch; its gradients will begin from its share of the group, times the scale of mixed precision.

        The loss keeps its value: it is what is logged and watched.
        """
        place = self.done % self.batches
        first = place - place % self.every
        size = min(self.every, self.batches - first)
        self.done, self.complete = self.done + 1, place == first + size - 1
        if size > 1 or self.scaler.is_enable():
            # the scale has one element, a loss none
            loss.register_hook(lambda gradient: self.scaler.scale(gradient / size).reshape(gradient.shape))

    @contextlib.contextmanager
    def applied(self, model):
        """Every training loss that ``model.forward`` gives meanwhile is noted."""
        inner = vars(model).get("forward")
        forward = model.forward

        def noted_forward(*inputs):
            outputs = forward(*inputs)
            if model.training:
                self.begin(outputs["loss"])
            return outputs

        model.forward = noted_forward
        try:
            yield
        finally:
            del model.forward
            if inner is not None:
                model.forward = inner


class Stand:
    """Hands everything through to ``target``; subclasses hold back what is not due."""

    def __init__(self, target, steps):
        self.target, self._steps = target, steps

    def __getattr__(self, name):
        return getattr(self.target, name)


class Optimizer(Stand):
    def step(self):
        if not self._steps.complete:
            return
        precision.widen_gradients(self.target._parameter_list)
        if self._steps.scaler.is_enable():
            self._steps.scaler.step(self.target)  # skips where a gradient is not finite
            self._steps.scaler.update()
        else:
            self.target.step()

    def clear_grad(self):
        if self._steps.complete:
            self.target.clear_grad()


class Schedule(Stand):
    def step(self):
        if self._steps.complete:
            self.target.step()


class Average(Stand):
    """ppdet's ModelEMA, fed from float32 weights and put into a model of any precision.

    Attributes:
        applied: {name: float32 value} of the last ``apply``.
    """

    def __init__(self, target, steps, model, optimizer):
        super().__init__(target, steps)
        self._model, self._optimizer, self.applied = model, optimizer, {}

    def update(self):
        if self._steps.complete:
            weights = precision.full(self._model.state_dict(), self._model, self._optimizer)
            self.target.update(types.SimpleNamespace(state_dict=lambda: weights))

    def apply(self):
        self.applied = precision.widened(self.target.apply())
        return precision.fitting(self.applied, self._model)
