# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""How training and evaluation go: one line on a terminal, PaddleDetection's log lines in pipes and in train.log."""
from __future__ import annotations

import contextlib
import datetime
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import paddle

from ..distributed import processes
from ..measure.memory_there import resident_peak
from .hooks import Hook, Status
from .metrics import main_ap
from .run_output import NAME, RunOutput

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")


def peak_memory_mb() -> int:
    """Most memory so far, in MiB: the GPU's where Paddle runs on one, else this process's resident memory."""
    if paddle.get_device().startswith("gpu"):
        return paddle.device.cuda.max_memory_allocated() // 2**20
    return resident_peak() // 2**20


def has_line(kind: str | None) -> bool:
    """Whether there is a progress line: what ``--progress`` says, or for 'auto' and None what standard output can."""
    if not processes.is_main():
        return False
    if kind in ("rich", "plain"):
        return kind == "rich"
    return sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


class Progress(Hook):
    """Epoch, step, time to go, loss, images per second, AP so far and memory.

    Log lines carry PaddleDetection's fields in its order, with memory after them, every ``log_iter`` steps. A training
    writes ``train.log``, where they stand whatever the terminal shows.

    Args:
        line: whether there is a progress line; by default ``progress`` in the config says, see ``has_line``.
    """

    def __init__(self, trainer: Trainer, line: bool | None = None) -> None:
        self.trainer = trainer
        self.shown = processes.is_main()
        self.line = has_line(trainer.cfg.get("progress")) if line is None else line
        self.output = RunOutput()
        self._trains = False

    def before_train(self, status: Status) -> None:
        if self.shown:
            self._trains = True
            self.output.open(self.line, self.trainer.output / NAME, append=status.epoch + status.step > 0)

    def before_epoch(self, status: Status) -> None:
        self._start = time.monotonic()

    def after_step(self, status: Status) -> None:
        if not self.shown:
            return
        if status.step % self.trainer.cfg["log_iter"] == 0:
            log.info(self._line(status))
        if self.output.due:
            epochs, steps = self.trainer.cfg["epoch"], status.steps_per_epoch
            self.output.draw((status.epoch + (status.step + 1) / steps) / epochs, "  ".join([
                f"epoch {status.epoch + 1}/{epochs}", f"step {status.step + 1}/{steps}", f"eta {self._eta(status)}",
                f"loss {status.losses.meters['loss'].avg:.3f}", f"{self._images_per_second(status):.1f} images/s",
                *self._ap_so_far(), f"{peak_memory_mb()} MB"]))

    def before_evaluation(self, status: Status) -> None:
        self._evaluation = time.monotonic()
        if self.shown and not self.output.is_open:
            self.output.open(self.line)

    def after_evaluation_step(self, status: Status) -> None:
        if not self.shown:
            return
        if status.step % 100 == 0:
            log.info(f"Eval iter: {status.step}")
        done, batches = status.step + 1, len(self._loader())
        if done == batches and not self._trains:
            self.output.close()  # what follows is the result
        elif self.output.due:
            seconds = (time.monotonic() - self._evaluation) / done * (batches - done)
            epoch = [f"epoch {status.epoch + 1}/{self.trainer.cfg['epoch']}"] if self._trains else []
            self.output.draw(done / batches, "  ".join([
                *epoch, f"evaluation {done}/{batches}", f"eta {datetime.timedelta(seconds=int(seconds))}",
                *self._ap_so_far(), f"{peak_memory_mb()} MB"]))

    def after_evaluation(self, status: Status) -> None:
        if not self.shown:
            return
        log.info(f"Total sample number: {status.images}, average FPS: {status.images / status.seconds}")
        if self._trains:
            now = datetime.timedelta(seconds=int(time.monotonic() - self._start))
            found = [f"{name} {value:.3f}" for name, value in status.ap.items()
                     if name in ("AP", "AP50") and value is not None]
            self.output.say("  ".join([f"epoch {status.epoch + 1}/{self.trainer.cfg['epoch']}",
                                       f"loss {status.losses.meters['loss'].avg:.3f}", *found, f"{now}"]))

    def after_train(self, status: Status) -> None:
        self.output.end_line()

    def close(self, error: BaseException | None) -> None:
        if self.output.is_open:
            self.output.close(error)

    def _loader(self) -> Any:
        return self.trainer.evaluation_loader if self._trains else self.trainer.loader

    def _ap_so_far(self) -> list[str]:
        """The last evaluation's AP and the best; nothing before the first."""
        history = getattr(self.trainer, "history", None)
        rated = [row["ap"] for row in history.rows if main_ap(row.get("ap", {})) is not None] if history else []
        if history is None or not rated:
            return []
        best = history.best()
        so_far = f" (best {main_ap(best['ap']):.3f})" if best else ""
        return [f"{next(iter(rated[-1]))} {main_ap(rated[-1]):.3f}{so_far}"]

    def _images_per_second(self, status: Status) -> float:
        return self.trainer.cfg["TrainReader"]["batch_size"] * processes.count() / status.batch_time.avg

    def _line(self, status: Status) -> str:
        steps = status.steps_per_epoch
        return (f"Epoch: [{status.epoch}] [{status.step:{len(str(steps))}d}/{steps}] "
                f"learning_rate: {status.learning_rate:.6f} {status.losses.log()} "
                f"eta: {self._eta(status)} batch_cost: {status.batch_time} data_cost: {status.data_time} "
                f"ips: {self._images_per_second(status):.4f} images/s, max_mem: {peak_memory_mb()} MB")

    def _eta(self, status: Status) -> datetime.timedelta:
        steps = (self.trainer.cfg["epoch"] - status.epoch) * status.steps_per_epoch - status.step
        return datetime.timedelta(seconds=int(steps * status.batch_time.global_avg))


@contextlib.contextmanager
def counted(what: str, count: int, kind: str | None) -> Iterator[Callable[[int], None]]:
    """Inside there is a progress line, where there can be one; call what this yields with how many parts are done.

    Args:
        what: what is done with the parts.
        count: how many there are.
        kind: see ``has_line``.
    """
    output, start = RunOutput(), time.monotonic()

    def tell(done: int) -> None:
        left = datetime.timedelta(seconds=int((time.monotonic() - start) / done * (count - done)))
        output.draw(done / count, f"{what} {done}/{count}  eta {left}  {peak_memory_mb()} MB")

    output.open(has_line(kind))
    try:
        yield tell
    finally:
        output.close()
