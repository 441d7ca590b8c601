# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``curves.png``: the loss and the AP over the epochs, drawn from the history after each evaluation."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import atomic_path
from .hooks import Hook, Status

if TYPE_CHECKING:
    from .trainer import Trainer

LINES = ("AP", "AP50", "AP75")


def draw_curves(rows: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Draw loss (left) and AP, AP50, AP75 (right) of the history's ``rows`` into the PNG ``path``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="tight")
    left, right = figure.subplots(1, 2)
    left.plot([row["epoch"] + 1 for row in rows], [row["loss"] for row in rows], marker=".")
    left.set(title="training loss (mean over the epoch)", xlabel="epoch", ylim=(0, None))
    rated = [row for row in rows if row.get("ap")]
    for name in LINES:
        values = [row["ap"].get(name) for row in rated]
        if any(value is not None for value in values):
            right.plot([row["epoch"] + 1 for row in rated], [float("nan") if v is None else v for v in values],
                       marker=".", label=name)
    right.set(title="AP on the evaluation set", xlabel="epoch", ylim=(0, 1))
    if right.lines:
        right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


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
