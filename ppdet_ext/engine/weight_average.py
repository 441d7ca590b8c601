# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The moving average of weights (EMA): computed in float32, put into the model while it is saved and evaluated."""
from __future__ import annotations

import contextlib
import copy
import types
from collections.abc import Iterator

import paddle
from paddle import nn
from ppdet.optimizer import ModelEMA

from . import precision


class WeightAverage:
    """ppdet's ModelEMA for a model of any precision.

    Args:
        ema: the average.
        model, optimizer: what is trained, and what has float32 masters of half-precision weights.
        half_weights: whether there are such masters (amp_level O2).
    """

    def __init__(self, ema: ModelEMA, model: nn.Layer, optimizer: paddle.optimizer.Optimizer,
                 half_weights: bool = False) -> None:
        self.ema, self.model, self.optimizer, self.half_weights = ema, model, optimizer, half_weights
        self._own: dict[str, paddle.Tensor] = {}
        self._applied: dict[str, paddle.Tensor] = {}

    def update(self) -> None:
        """Count the model's weights in; after every step of the optimizer."""
        if not self.half_weights:
            self.ema.update()
            return
        weights = precision.full(self.model.state_dict(), self.model, self.optimizer)
        self.ema.update(types.SimpleNamespace(state_dict=lambda: weights))

    @contextlib.contextmanager
    def in_model(self, counts: bool = True) -> Iterator[None]:
        """Inside, the model has the averaged weights. ``counts``: as the end of an epoch, for ``cycle_epoch``."""
        ema = self.ema
        before = ema.step, ema.epoch, dict(ema.state_dict)
        self._own = copy.deepcopy(self.model.state_dict())
        self._applied = precision.widened(ema.apply())
        if not counts:
            ema.step, ema.epoch, ema.state_dict = before
        self.model.set_state_dict(precision.fitting(self._applied, self.model))
        try:
            yield
        finally:
            self.model.set_state_dict(self._own)
            self._own, self._applied = {}, {}

    @contextlib.contextmanager
    def own_in_model(self) -> Iterator[None]:
        """Inside, within :meth:`in_model`, the model has its own weights again."""
        self.model.set_state_dict(self._own)
        try:
            yield
        finally:
            self.model.set_state_dict(precision.fitting(self._applied, self.model))

    def weights(self) -> tuple[dict[str, paddle.Tensor], dict[str, paddle.Tensor]]:
        """Inside :meth:`in_model`: (the model's own weights, the averaged ones), in float32."""
        if not self.half_weights:
            return self._own, self.model.state_dict()
        return precision.full(self._own, self.model, self.optimizer), self._applied
