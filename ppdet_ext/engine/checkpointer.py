# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Checkpoints under PaddleDetection's names, each written beside its place and then renamed over it."""
from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddle

from ..checkpoints import stamp
from ..checkpoints.facts import Facts
from ..config.values import ALL
from ..distributed import processes
from ..errors import UserError
from ..files import atomic_set, link_set, settle
from ..weights import readers
from . import resume_state
from .divergence import require_finite
from .early_stopping import stopping_setting
from .hooks import Hook, Status

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")
KEPT = 2  # numbered checkpoints, beside the best and the last


def save(prefix: str | Path, weights: dict[str, paddle.Tensor], optimizer: paddle.optimizer.Optimizer,
         epochs_done: int, ema: dict[str, paddle.Tensor] | None = None, run: str = "", step: int = 0,
         more: dict[str, Any] | None = None, facts: Facts | None = None, batches: int = 0) -> stamp.Stamp:
    """Write ``prefix``.pdparams and .pdopt; with ``ema`` .pdparams is the EMA's weights and .pdema the model's.

    All files are complete before the first is renamed, so that a broken run leaves the former set.

    Args:
        run, step: the run's name and the optimizer's steps done; with ``epochs_done`` the stamp of each file.
        more: what ``resume_state.collect`` gave.
        facts: what the checkpoint belongs to.
        batches: of the next epoch, those done.
    Returns:
        Their stamp.
    """
    state = dict(optimizer.state_dict(), last_epoch=epochs_done)
    # a .pdopt that lost some of it is then no whole one
    state[resume_state.KEY] = {"entries": len(state), "masters": len(state.get("master_weights", {})), **(more or {})}
    parts = {stamp.WEIGHTS: weights} if ema is None else {stamp.WEIGHTS: ema, stamp.MODEL: weights}
    parts[stamp.OPTIMIZER] = state
    mark = stamp.Stamp(run, epochs_done, step, tuple(parts), facts or Facts(), batches)
    with atomic_set(prefix, list(parts)) as paths:
        for suffix, part in parts.items():
            paddle.save(part, str(paths[suffix]))
            stamp.write(paths[suffix], mark)
    log.info(f"Save checkpoint: {Path(prefix).parent}")
    return mark


def take_over_best(source: str | Path, target: str | Path, epoch: int) -> bool:
    """Link ``source``'s best_model files to ``target``, if that is another folder and they are of ``epoch``.

    Returns:
        Whether ``target`` now has the best_model that ``epoch`` (from 0) wrote.
    """
    source, target = Path(source), Path(target)
    if _epochs_done(source / stamp.BEST) != epoch + 1:
        return False
    if source.resolve() != target.resolve():
        suffixes = [path.name[len(stamp.BEST):] for path in sorted(source.glob(f"{stamp.BEST}.*"))]
        link_set(source / stamp.BEST, target / stamp.BEST, suffixes)
    return True


def move_aside(folder: str | Path, title: str = stamp.BEST) -> None:
    """Give the checkpoint ``title`` that another run left in ``folder`` a name of its own: it is not this run's."""
    folder = Path(folder)
    settle(folder)
    found = sorted(folder.glob(f"{title}.*"))
    if not found:
        return
    weights = folder / f"{title}{stamp.WEIGHTS}"
    own = stamp.read(weights) if weights.is_file() else None
    names = (f"{title}_of_{own.run if own and own.run else 'older_run'}{number}" for number in ("", *range(2, 1000)))
    name = next(name for name in names if not any(folder.glob(f"{name}.*")))
    for path in found:
        path.rename(folder / f"{name}{path.name[len(title):]}")
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


def remove(folder: Path, name: str, mark: stamp.Stamp) -> None:
    """Remove the checkpoint ``name``, if what lies there is still the one with this stamp."""
    weights = folder / f"{name}{stamp.WEIGHTS}"
    if weights.is_file() and stamp.read(weights) == mark:
        for suffix in mark.files:
            (folder / f"{name}{suffix}").unlink(missing_ok=True)


class Checkpointer(Hook):
    """Saves every ``snapshot_epoch`` epochs (<epoch>, at the end model_final) and where a signal ends the run
    (interrupted); the best evaluated gets a second name (best_model).

    Of the numbered ones the newest ``keep_checkpoints`` stay. Only those that this object has written are removed, once
    a newer one is whole; what was there before the run, it leaves alone.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.random: list[dict[str, Any]] = []
        self.newest, self.epochs = "", 0  # the newest's name and epochs
        self.files: tuple[str, ...] = ()
        self.numbered: list[tuple[str, stamp.Stamp]] = []
        kept = trainer.cfg.get("keep_checkpoints", KEPT)
        self.kept: int | None = None if kept == ALL else kept

    def before_train(self, status: Status) -> None:
        if processes.is_main():
            if self.trainer.history.best() is None:
                move_aside(self.trainer.output)
            if not self.trainer.resumed:
                move_aside(self.trainer.output, stamp.INTERRUPTED)

    def after_epoch(self, status: Status) -> None:
        epoch, cfg = status.epoch, self.trainer.cfg
        is_last = epoch == cfg["epoch"] - 1
        if is_last or (epoch + 1) % cfg["snapshot_epoch"] == 0:
            self.random = resume_state.random_of_all(self.trainer)  # an evaluation leaves it as it is
            self._save(stamp.LAST if is_last else str(epoch), epoch + 1)

    def after_evaluation(self, status: Status) -> None:
        history = self.trainer.history
        best = history.best()
        if best is None:
            return
        words = stopping_setting(self.trainer.cfg, "metric") or "ap"
        log.info(f"Best test bbox {words} is {history.score(best):0.3f}.")
        if best["epoch"] == status.epoch:
            self._link(stamp.BEST)  # after_epoch has just saved these very weights

    def after_train(self, status: Status) -> None:
        if processes.is_main() and self.newest:
            if self.newest != stamp.LAST:  # the run ended early
                self._link(stamp.LAST)
            self._remove_older(least=0)

    def before_stop(self, status: Status) -> None:
        if status.batches or self.epochs != status.epoch + 1:
            self.random = resume_state.random_of_all(self.trainer)
            self._save(stamp.INTERRUPTED, status.epoch + (not status.batches), status.batches)
        status.saved = str(self.trainer.output / self.newest)

    def _save(self, name: str, epochs: int, batches: int = 0) -> None:
        weights, average = self.trainer.weights_to_save()
        require_finite(self.trainer.model, weights, average)  # in every process, so that all stop
        if processes.is_main():
            more = resume_state.collect(self.trainer, self.random)
            mark = save(self.trainer.output / name, weights, self.trainer.optimizer, epochs, average, self.trainer.run,
                        self.trainer.lr.last_epoch, more, self.trainer.facts, batches)
            self.files = mark.files
            if name.isdecimal():
                self.numbered.append((name, mark))
                self._remove_older(least=1)  # the run could go on from it
        self.newest, self.epochs = name, epochs

    def _link(self, name: str) -> None:
        """Give the newest checkpoint a second name."""
        link_set(self.trainer.output / self.newest, self.trainer.output / name, self.files)
        log.info(f"Save checkpoint: {self.trainer.output} ({name}, the same files as {self.newest})")

    def _remove_older(self, least: int) -> None:
        """Keep the newest of the numbered checkpoints, at least so many."""
        while self.kept is not None and len(self.numbered) > max(self.kept, least):
            remove(self.trainer.output, *self.numbered.pop(0))
