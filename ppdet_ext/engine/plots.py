# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``curves.png``: the loss and the AP over the epochs, drawn from the history after each evaluation."""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..report.figures import draw_curves
from .hooks import Hook, Status

if TYPE_CHECKING:
    from .trainer import Trainer


class Plots(Hook):
    """Draws the curves after every evaluation and at the end."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def after_evaluation(self, status: Status) -> None:
        self.after_train(status)

    def after_train(self, status: Status) -> None:
        rows = self.trainer.history.rows
        if rows:
            draw_curves(rows, self.trainer.output / "curves.png")
