# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Alignment that goes on while the detector is trained: a weak further loss, which falls to nothing by the end."""
from __future__ import annotations

from typing import Any

import paddle

from ..engine.hooks import Hook, Status
from ..engine.trainer import Trainer
from .align import Scale
from .teacher import Normalization, Teacher

LOSS = "loss_distill"


class Distill(Hook):
    """Adds to each batch's loss how far the projected features are from the teacher's.

    Nothing stays in the network: the features are read where the neck's input projections give them.

    Args:
        teacher: the old detector.
        own: what training's pictures are normalised with.
        weight: of the loss at the beginning.
    """

    def __init__(self, trainer: Trainer, teacher: Teacher, own: Normalization, weight: float) -> None:
        self.trainer, self.teacher, self.own, self.weight = trainer, teacher, own, weight
        self.features: dict[int, paddle.Tensor] = {}
        self.scale: Scale | None = None
        self._handles: list[Any] = []

    def before_train(self, status: Status) -> None:
        self._handles = [layer.register_forward_post_hook(self._keeper(number))
                         for number, layer in enumerate(self.trainer.model.neck.input_proj)]

    def add_losses(self, data: dict[str, Any], losses: dict[str, paddle.Tensor]) -> None:
        theirs = self.teacher.features(data["image"], self.own)
        if self.scale is None:
            self.scale = Scale([theirs])
        own = [self.features[number] for number in sorted(self.features)]
        self.features = {}
        term = paddle.add_n(self.scale.losses(own, theirs)) / len(own) * (self.weight * self._left())
        losses[LOSS] = term
        losses["loss"] = losses["loss"] + term

    def close(self, error: BaseException | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self.features = [], {}

    def _keeper(self, number):
        def keep(layer, given, output):
            if layer.training:
                self.features[number] = output
        return keep

    def _left(self):
        """Share of the run that is left."""
        steps = self.trainer.end_epoch * self.trainer.accumulation.steps_per_epoch
        return max(0.0, 1 - self.trainer.lr.last_epoch / steps)
