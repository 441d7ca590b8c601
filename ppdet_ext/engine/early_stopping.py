# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``early_stopping: {patience, metric}``: the metric that decides which weights are best, and when no more come."""
from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..config.values import VOC_METRICS
from ..distributed import processes
from ..errors import UserError
from .hooks import Hook, Status

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")
KEY = "early_stopping"


def stopping_setting(cfg: dict[str, Any], name: str) -> Any:
    """What the config says of ``early_stopping``: its 'patience' or 'metric'; None where it says nothing."""
    return (cfg.get(KEY) or {}).get(name)


def metric_of(cfg: dict[str, Any]) -> str:
    """The metric that decides: what the config says, else AP, with VOC AP50.

    Raises:
        UserError: VOC has no such metric.
    """
    known = VOC_METRICS if cfg.get("metric") == "VOC" else ()
    name = stopping_setting(cfg, "metric") or (known[0] if known else "AP")
    if known and name not in known:
        raise UserError(f"{KEY}.metric is {name}, but 'metric: VOC' measures {', '.join(known)}; write {known[0]}")
    return name


class EarlyStopping(Hook):
    """Ends the run once ``patience`` evaluations in a row have brought nothing better.

    They are counted in the history, so that a resumed run goes on with the count.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.patience: int | None = stopping_setting(trainer.cfg, "patience")

    def before_train(self, status: Status) -> None:
        why = self._why()
        if why:
            raise UserError(f"nothing is left to train: {why}; for more: -o {KEY}.patience={2 * (self.patience or 1)}")

    def after_evaluation(self, status: Status) -> None:
        status.ends_early = self._why()
        if status.ends_early and processes.is_main():
            log.info(f"early stopping: {status.ends_early}; training ends after epoch {status.epoch} (of "
                     f"{self.trainer.end_epoch} epochs, from 0)")

    def _why(self) -> str:
        """The reason to end, the same in all processes; '' to go on. All call."""
        if self.patience is None:
            return ""
        history = self.trainer.history
        rated = [(history.score(row), row["epoch"]) for row in history.rows if history.score(row) is not None]
        best = max(rated, key=lambda pair: (pair[0], -pair[1]), default=None)  # an equal one later is not better
        since = sum(epoch > best[1] for _, epoch in rated) if best else 0
        own = "" if best is None or since < self.patience else (
            f"{history.metric} has not risen for {since} evaluations (patience: {self.patience}); the best is "
            f"{best[0]:.3f} at epoch {best[1]}")
        return processes.all_gather(own)[0]  # the main process has the history
