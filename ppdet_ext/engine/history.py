# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Loss, learning rate and AP of every epoch, kept in ``curves.json`` beside the checkpoints."""
import json
import math
import time
from pathlib import Path

import paddle.distributed as dist
from ppdet.engine.callbacks import Callback

from ..errors import UserError
from ..files import atomic_path
from .metrics import ap_values, main_ap


class History(Callback):
    """``rows``: one dict per epoch: epoch (from 0), loss (mean over its steps), losses, learning_rate (at its end),
    seconds, and after an evaluation ``ap``. Stops training when the loss is no longer a number.

    ``first``: earlier rows are shown, but the best is not looked for among them (their best_model is not at hand).
    Of several processes only the main one keeps a history; all stop at such a loss, since they see the same mean.
    """

    def __init__(self, trainer):
        super().__init__(trainer)
        self.path = Path(trainer.output) / "curves.json"
        self.active = dist.get_world_size() < 2 or dist.get_rank() == 0
        self.rows = []
        self.first = 0
        self._sums = {}

    def load(self, path, before):
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

    def best(self):
        """The row whose weights best_model holds: the highest AP, the later of equals; None before an evaluation."""
        rated = [row for row in self.rows if row["epoch"] >= self.first and main_ap(row.get("ap", {})) is not None]
        return max(rated, key=lambda row: (main_ap(row["ap"]), row["epoch"])) if rated else None

    def on_epoch_begin(self, status):
        if status["mode"] == "train":
            self._sums, self._steps, self._start = {}, 0, time.time()

    def on_step_end(self, status):
        if status["mode"] != "train":
            return
        losses = {name: float(meter.value) for name, meter in status["training_staus"].meters.items()}
        if not math.isfinite(losses["loss"]):
            raise UserError(
                f"the loss became {losses['loss']} at epoch {status['epoch_id']}, step {status['step_id']}, and no "
                "checkpoint was written from it: lower LearningRate.base_lr, set OptimizerBuilder.clip_grad_by_norm, "
                "or check the data")
        self._steps += 1
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def on_epoch_end(self, status):
        if not self.active:
            return
        if status["mode"] == "train":
            means = {name: total / max(self._steps, 1) for name, total in self._sums.items()}
            self.rows.append({"epoch": status["epoch_id"], "loss": means.pop("loss", None), "losses": means,
                              "learning_rate": float(status.get("learning_rate", 0.0)),
                              "seconds": round(time.time() - self._start, 3)})
        elif self.rows:
            self.rows[-1]["ap"] = ap_values(self.model._metrics)
        self.save()

    def save(self):
        with atomic_path(self.path) as path:
            path.write_text(json.dumps(self.rows, indent=1))
