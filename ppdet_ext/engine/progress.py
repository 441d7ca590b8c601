# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""How training is going: a bar on a terminal, PaddleDetection's log lines elsewhere."""
from __future__ import annotations

import datetime
import logging
import shutil
import sys
from typing import TYPE_CHECKING

import paddle
from tqdm import tqdm

from ..distributed import processes
from ..measure.memory_there import resident_peak
from .hooks import Hook, Status

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")


def peak_memory_mb() -> int:
    """Most memory so far, in MiB: the GPU's where Paddle runs on one, else this process's resident memory."""
    if paddle.get_device().startswith("gpu"):
        return paddle.device.cuda.max_memory_allocated() // 2**20
    return resident_peak() // 2**20


class Progress(Hook):
    """Epoch, step, learning rate, losses, ETA, seconds per step, images per second and memory.

    Log lines carry PaddleDetection's fields in its order, with memory after them, every ``log_iter`` steps.
    ``terminal``: whether to draw bars instead; found out by itself.
    """

    def __init__(self, trainer: Trainer, terminal: bool | None = None) -> None:
        self.trainer = trainer
        self.shown = processes.is_main()
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self.bar = None

    def before_epoch(self, status: Status) -> None:
        if self.shown and self.terminal:
            title = f"Epoch {status.epoch + 1}/{self.trainer.cfg['epoch']}"
            # tqdm draws nothing on a terminal that says it is 0 x 0, as some do
            columns, lines = shutil.get_terminal_size((120, 24))
            self.bar = tqdm(total=status.steps_per_epoch, desc=title, unit="step", ncols=columns, nrows=lines)

    def after_step(self, status: Status) -> None:
        if self.bar is not None:
            loss = status.losses.meters["loss"].avg
            self.bar.set_postfix_str(f"loss={loss:.3f}, lr={status.learning_rate:.2e}, mem={peak_memory_mb()}MB, "
                                     f"eta={self._eta(status)}", refresh=False)
            self.bar.update()
        elif self.shown and status.step % self.trainer.cfg["log_iter"] == 0:
            log.info(self._line(status))

    def after_epoch(self, status: Status) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def after_evaluation_step(self, status: Status) -> None:
        if self.shown and status.step % 100 == 0:
            log.info(f"Eval iter: {status.step}")

    def after_evaluation(self, status: Status) -> None:
        if self.shown:
            log.info(f"Total sample number: {status.images}, average FPS: {status.images / status.seconds}")

    def _line(self, status: Status) -> str:
        steps = status.steps_per_epoch
        images = self.trainer.cfg["TrainReader"]["batch_size"] * processes.count()
        return (f"Epoch: [{status.epoch}] [{status.step:{len(str(steps))}d}/{steps}] "
                f"learning_rate: {status.learning_rate:.6f} {status.losses.log()} "
                f"eta: {self._eta(status)} batch_cost: {status.batch_time} data_cost: {status.data_time} "
                f"ips: {images / status.batch_time.avg:.4f} images/s, max_mem: {peak_memory_mb()} MB")

    def _eta(self, status: Status) -> datetime.timedelta:
        steps = (self.trainer.cfg["epoch"] - status.epoch) * status.steps_per_epoch - status.step
        return datetime.timedelta(seconds=int(steps * status.batch_time.global_avg))
