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
from .divergence import ADVICE
from .hooks import Hook, Status
from .metrics import main_ap

if TYPE_CHECKING:
    from .trainer import Trainer


class History(Hook):
    """``rows``: one dict per epoch: epoch (from 0), loss (mean over its steps), losses, learning_rate (at its end),
    seconds, and after an evaluation ``ap``. Stops training when the loss is no longer a number.

    ``first``: earlier rows are shown, but the best is not looked for among them (their best_model is not at hand).
    Of several processes only the main one keeps a history; all stop at such a loss, since they see the same mean.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.path = Path(trainer.output) / "curves.json"
        self.active = processes.is_main()
        self.rows: list[dict[str, Any]] = []
        self.first = 0
        self._sums: dict[str, float] = {}

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

    def best(self) -> dict[str, Any] | None:
        """The row whose weights best_model holds: the highest AP, the later of equals; None before an evaluation."""
        rated = [row for row in self.rows if row["epoch"] >= self.first and main_ap(row.get("ap", {})) is not None]
        return max(rated, key=lambda row: (main_ap(row["ap"]), row["epoch"])) if rated else None

    def before_epoch(self, status: Status) -> None:
        self._sums, self._steps, self._start = {}, 0, time.time()

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
