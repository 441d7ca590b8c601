# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Checkpoints under PaddleDetection's names, each written beside its place and then renamed over it."""
from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddle

from ..checkpoints import stamp
from ..checkpoints.facts import Facts
from ..distributed import processes
from ..errors import UserError
from ..files import atomic_set, settle
from ..weights import readers
from . import resume_state
from .divergence import require_finite
from .hooks import Hook, Status
from .metrics import main_ap

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")


def save(prefix: str | Path, weights: dict[str, paddle.Tensor], optimizer: paddle.optimizer.Optimizer,
         epochs_done: int, ema: dict[str, paddle.Tensor] | None = None, run: str = "", step: int = 0,
         more: dict[str, Any] | None = None, facts: Facts | None = None) -> None:
    """Write ``prefix``.pdparams and .pdopt; with ``ema`` .pdparams is the EMA's weights and .pdema the model's.

    All files are complete before the first is renamed, so that a broken run leaves the former set.

    Args:
        run, step: the run's name and the optimizer's steps done; with ``epochs_done`` the stamp of each file.
        more: what ``resume_state.collect`` gave.
        facts: what the checkpoint belongs to.
    """
    state = dict(optimizer.state_dict(), last_epoch=epochs_done)
    # a .pdopt that lost some of it is then no whole one
    state[resume_state.KEY] = {"entries": len(state), "masters": len(state.get("master_weights", {})), **(more or {})}
    parts = {stamp.WEIGHTS: weights} if ema is None else {stamp.WEIGHTS: ema, stamp.MODEL: weights}
    parts[stamp.OPTIMIZER] = state
    mark = stamp.Stamp(run, epochs_done, step, tuple(parts), facts or Facts())
    with atomic_set(prefix, list(parts)) as paths:
        for suffix, part in parts.items():
            paddle.save(part, str(paths[suffix]))
            stamp.write(paths[suffix], mark)
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
        suffixes = [path.name[len("best_model"):] for path in sorted(source.glob("best_model.*"))]
        with atomic_set(target / "best_model", suffixes) as paths:
            for suffix, path in paths.items():
                shutil.copyfile(source / f"best_model{suffix}", path)
    return True


def move_aside(folder: str | Path) -> None:
    """Give a best_model that another run left in ``folder`` a name of its own, so that it is not taken for this run's.
    """
    folder = Path(folder)
    settle(folder)
    found = sorted(folder.glob("best_model.*"))
    if not found:
        return
    weights = folder / f"best_model{stamp.WEIGHTS}"
    own = stamp.read(weights) if weights.is_file() else None
    names = (f"best_model_of_{own.run if own and own.run else 'older_run'}{number}" for number in ("", *range(2, 1000)))
    name = next(name for name in names if not any(folder.glob(f"{name}.*")))
    for path in found:
        path.rename(folder / f"{name}{path.name[len('best_model'):]}")
    log.warning(f"'{weights}' is another run's ({own or 'older, without a stamp'}): moved to '{folder / name}.*'")


def _epochs_done(prefix: Path) -> int | None:
    """What :func:`save` was told; None where a file is missing, cannot be read or is of another checkpoint."""
    weights, optimizer = Path(f"{prefix}{stamp.WEIGHTS}"), Path(f"{prefix}{stamp.OPTIMIZER}")
    if not (weights.is_file() and optimizer.is_file()):
        return None
    try:
        found = stamp.check(weights)
        return found.epochs if found else readers.read_paddle(optimizer).get("last_epoch")
    except UserError as error:
        log.warning(str(error))
        return None
    except Exception:  # a damaged pickle can fail in any way
        return None


class Checkpointer(Hook):
    """Saves every ``snapshot_epoch`` epochs (<epoch>, at the end model_final) and the best evaluated (best_model)."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.random: list[dict[str, Any]] = []

    def before_train(self, status: Status) -> None:
        if processes.is_main() and self.trainer.history.best() is None:
            move_aside(self.trainer.output)

    def after_epoch(self, status: Status) -> None:
        epoch, cfg = status.epoch, self.trainer.cfg
        is_last = epoch == cfg["epoch"] - 1
        if is_last or (epoch + 1) % cfg["snapshot_epoch"] == 0:
            self.random = resume_state.random_of_all(self.trainer)  # an evaluation leaves it as it is
            self._save("model_final" if is_last else str(epoch), epoch)

    def after_evaluation(self, status: Status) -> None:
        best = self.trainer.history.best()
        if best is None:
            return
        log.info(f"Best test bbox ap is {main_ap(best['ap']):0.3f}.")
        if best["epoch"] == status.epoch:
            self._save("best_model", status.epoch)

    def _save(self, name: str, epoch: int) -> None:
        weights, average = self.trainer.weights_to_save()
        require_finite(self.trainer.model, weights, average)  # in every process, so that all stop
        if processes.is_main():
            more = resume_state.collect(self.trainer, self.random)
            save(self.trainer.output / name, weights, self.trainer.optimizer, epoch + 1, average, self.trainer.run,
                 self.trainer.lr.last_epoch, more, self.trainer.facts)
