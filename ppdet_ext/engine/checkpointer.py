# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Checkpoints under PaddleDetection's names, each written beside its place and then renamed over it."""
from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import paddle

from ..distributed import processes
from ..files import atomic_path
from ..weights import readers
from .hooks import Hook, Status
from .metrics import main_ap

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")


def save(prefix: str | Path, weights: dict[str, paddle.Tensor], optimizer: paddle.optimizer.Optimizer,
         epochs_done: int, ema: dict[str, paddle.Tensor] | None = None) -> None:
    """Write ``prefix``.pdparams and .pdopt; with ``ema`` .pdparams is the EMA's weights and .pdema the model's.

    All files are complete before the first is renamed, so that a broken run leaves the former set.
    """
    state = dict(optimizer.state_dict(), last_epoch=epochs_done)
    parts = {".pdparams": weights, ".pdopt": state} if ema is None else \
            {".pdparams": ema, ".pdema": weights, ".pdopt": state}
    with contextlib.ExitStack() as stack:
        for suffix, part in parts.items():
            path = stack.enter_context(atomic_path(f"{prefix}{suffix}"))
            paddle.save(part, str(path))
    log.info(f"Save checkpoint: {Path(prefix).parent}")


def take_over_best(source: str | Path, target: str | Path, epoch: int) -> bool:
    """Copy ``source``'s best_model files to ``target``, if that is another folder and they are of ``epoch``.

    Returns:
        Whether ``target`` now has the best_model that ``epoch`` (from 0) wrote.
    """
    source, target = Path(source), Path(target)
    if _epochs_done(source / "best_model") != epoch + 1:
        return False
    if source.resolve() != target.resolve():
        with contextlib.ExitStack() as stack:
            for path in source.glob("best_model.*"):
                shutil.copyfile(path, stack.enter_context(atomic_path(target / path.name)))
    return True


def _epochs_done(prefix: Path) -> int | None:
    """What :func:`save` was told; None where a file is missing or the optimizer's state cannot be read."""
    if not all(Path(f"{prefix}{suffix}").is_file() for suffix in (".pdparams", ".pdopt")):
        return None
    try:
        return readers.read_paddle(Path(f"{prefix}.pdopt")).get("last_epoch")
    except Exception:  # a damaged pickle can fail in any way
        return None


class Checkpointer(Hook):
    """Saves every ``snapshot_epoch`` epochs (<epoch>, at the end model_final) and the best evaluated (best_model)."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def after_epoch(self, status: Status) -> None:
        epoch, cfg = status.epoch, self.trainer.cfg
        if epoch == cfg["epoch"] - 1:
            self._save("model_final", epoch)
        elif (epoch + 1) % cfg["snapshot_epoch"] == 0:
            self._save(str(epoch), epoch)

    def after_evaluation(self, status: Status) -> None:
        best = self.trainer.history.best()
        if best is None:
            return
        log.info(f"Best test bbox ap is {main_ap(best['ap']):0.3f}.")
        if best["epoch"] == status.epoch:
            self._save("best_model", status.epoch)

    def _save(self, name: str, epoch: int) -> None:
        if processes.is_main():
            weights, average = self.trainer.weights_to_save()
            save(self.trainer.output / name, weights, self.trainer.optimizer, epoch + 1, ema=average)
