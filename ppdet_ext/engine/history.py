# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Loss, learning rate and AP of every epoch, kept in ``curves.json`` beside the checkpoints."""
from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..distributed import processes
from ..errors import UserError
from ..files import atomic_path
from ..report.run_page import CURVES
from .divergence import ADVICE
from .early_stopping import metric_of
from .hooks import Hook, Status

if TYPE_CHECKING:
    from .trainer import Trainer


class History(Hook):
    """``rows``: one dict per epoch: epoch (from 0), loss (mean over its steps), losses, learning_rate (at its end),
    seconds, and after an evaluation ``ap``. Stops training when the loss is no longer a number.

    ``metric``: decides which row is the best, see early_stopping.
    ``first``: earlier rows are shown, but the best is not looked for among them (their best_model is not at hand).
    Of several processes only the main one keeps a history; all stop at such a loss, since they see the same mean.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.path = Path(trainer.output) / CURVES
        self.active = processes.is_main()
        self.rows: list[dict[str, Any]] = []
        self.first = 0
        self.metric = metric_of(trainer.cfg)
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._begun: tuple[dict[str, float], int] = {}, 0

    def load(self, path: str | Path, before: int) -> None:
        """Take over the rows before epoch ``before`` from another run's curves.json, where there is one.

        Raises:
            UserError: the file is damaged.
        """
        path = Path(path)
        if not self.active or not path.is_file():
            return
        try:
            self.rows = [row for row in json.loads(path.read_text(encoding="utf-8")) if row["epoch"] < before]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"'{path}' is damaged ({type(error).__name__}: {error}); move it away to go on without "
                            "the earlier epochs' curves") from None

    def score(self, row: dict[str, Any]) -> float | None:
        """What decides about a row; None where it was not evaluated."""
        return (row.get("ap") or {}).get(self.metric)

    def best(self) -> dict[str, Any] | None:
        """The row whose weights best_model holds: the highest score, the later of equals; None before an evaluation.
        """
        rated = [row for row in self.rows if row["epoch"] >= self.first and self.score(row) is not None]
        return max(rated, key=lambda row: (self.score(row), row["epoch"])) if rated else None

    def of_epoch(self) -> dict[str, Any]:
        """The sums of the epoch that is under way, for a checkpoint; :meth:`go_on` takes them."""
        return {"sums": dict(self._sums), "steps": self._steps}

    def go_on(self, begun: dict[str, Any]) -> None:
        """Begin the next epoch with the sums of a run that was interrupted in it."""
        self._begun = {str(name): float(value) for name, value in begun["sums"].items()}, int(begun["steps"])

    def before_epoch(self, status: Status) -> None:
        (self._sums, self._steps), self._begun = self._begun, ({}, 0)
        self._start = time.time()

    def after_step(self, status: Status) -> None:
        losses = {name: float(meter.value) for name, meter in status.losses.meters.items()}
        if not math.isfinite(losses["loss"]):
            raise UserError(
                f"the loss became {losses['loss']} at epoch {status.epoch}, step {status.step}, and no checkpoint "
                f"was written from it: {ADVICE}")
        self._steps += 1
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def after_epoch(self, status: Status) -> None:
        if not self.active:
            return
        means = {name: total / max(self._steps, 1) for name, total in self._sums.items()}
        self.rows.append({"epoch": status.epoch, "loss": means.pop("loss", None), "losses": means,
                          "learning_rate": float(status.learning_rate),
                          "seconds": round(time.time() - self._start, 3)})
        self.save()

    def after_evaluation(self, status: Status) -> None:
        if self.active and self.rows:
            self.rows[-1]["ap"] = status.ap
            self.save()

    def save(self) -> None:
        """Write ``curves.json``."""
        with atomic_path(self.path) as path:
            path.write_text(json.dumps(self.rows, indent=1))
