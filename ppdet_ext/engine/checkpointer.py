# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Checkpoints under PaddleDetection's names, each written beside its place and then renamed over it."""
import contextlib
import logging
import shutil
from pathlib import Path

import paddle
import paddle.distributed as dist
from ppdet.engine.callbacks import Callback

from ..files import atomic_path
from ..weights import readers
from .metrics import main_ap

log = logging.getLogger("ppdet.engine")


def save(prefix, weights, optimizer, epochs_done, ema=None):
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


def take_over_best(source, target, epoch):
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


def _epochs_done(prefix):
    """What :func:`save` was told; None where a file is missing or the optimizer's state cannot be read."""
    if not all(Path(f"{prefix}{suffix}").is_file() for suffix in (".pdparams", ".pdopt")):
        return None
    try:
        return readers.read_paddle(Path(f"{prefix}.pdopt")).get("last_epoch")
    except Exception:  # a damaged pickle can fail in any way
        return None


class Checkpointer(Callback):
    """Saves every ``snapshot_epoch`` epochs (<epoch>, at the end model_final) and the best evaluated (best_model)."""

    def on_epoch_end(self, status):
        if dist.get_world_size() > 1 and dist.get_rank() != 0:
            return
        name = self._due(status) if status["mode"] == "train" else self._best(status)
        if name is None:
            return
        weights, average = self.model.weights_to_save(status)
        save(Path(self.model.output) / name, weights, self.model.optimizer, status["epoch_id"] + 1, ema=average)

    def _due(self, status):
        epoch, cfg = status["epoch_id"], self.model.cfg
        if epoch == cfg.epoch - 1:
            return "model_final"
        return str(epoch) if (epoch + 1) % cfg.snapshot_epoch == 0 else None

    def _best(self, status):
        best = self.model.history.best()
        if not status.get("save_best_model") or best is None:
            return None
        log.info(f"Best test bbox ap is {main_ap(best['ap']):0.3f}.")
        return "best_model" if best["epoch"] == status["epoch_id"] else None
