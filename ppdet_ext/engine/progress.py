# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""How training is going: a bar on a terminal, PaddleDetection's log lines elsewhere."""
import datetime
import logging
import resource
import shutil
import sys

import paddle
import paddle.distributed as dist
from ppdet.engine.callbacks import Callback
from tqdm import tqdm

from ..distributed import processes

log = logging.getLogger("ppdet.engine")


def peak_memory_mb():
    """Most memory so far, in MiB: the GPU's where Paddle runs on one, else this process's resident memory."""
    if paddle.get_device().startswith("gpu"):
        return paddle.device.cuda.max_memory_allocated() // 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)


class Progress(Callback):
    """Epoch, step, learning rate, losses, ETA, seconds per step, images per second and memory.

    Log lines carry PaddleDetection's fields in its order, with memory after them, every ``log_iter`` steps.
    ``terminal``: whether to draw bars instead; found out by itself.
    """

    def __init__(self, trainer, terminal=None):
        super().__init__(trainer)
        self.shown = dist.get_world_size() < 2 or dist.get_rank() == 0
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self.bar = None

    def on_epoch_begin(self, status):
        if self.shown and self.terminal and status["mode"] == "train":
            title = f"Epoch {status['epoch_id'] + 1}/{self.model.cfg.epoch}"
            # tqdm draws nothing on a terminal that says it is 0 x 0, as some do
            columns, lines = shutil.get_terminal_size((120, 24))
            self.bar = tqdm(total=status["steps_per_epoch"], desc=title, unit="step", ncols=columns, nrows=lines)

    def on_step_end(self, status):
        if not self.shown:
            return
        if status["mode"] == "eval":
            if status["step_id"] % 100 == 0:
                log.info(f"Eval iter: {status['step_id']}")
        elif self.bar is not None:
            loss = status["training_staus"].meters["loss"].avg
            self.bar.set_postfix_str(f"loss={loss:.3f}, lr={status['learning_rate']:.2e}, mem={peak_memory_mb()}MB, "
                                     f"eta={_eta(self, status)}", refresh=False)
            self.bar.update()
        elif status["step_id"] % self.model.cfg.log_iter == 0:
            log.info(self._line(status))

    def on_epoch_end(self, status):
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if self.shown and status["mode"] == "eval":
            number, seconds = status["sample_num"], status["cost_time"]
            log.info(f"Total sample number: {number}, average FPS: {number / seconds}")

    def _line(self, status):
        steps = status["steps_per_epoch"]
        images = self.model.cfg["TrainReader"]["batch_size"] * processes.count()
        return (f"Epoch: [{status['epoch_id']}] [{status['step_id']:{len(str(steps))}d}/{steps}] "
                f"learning_rate: {status['learning_rate']:.6f} {status['training_staus'].log()} "
                f"eta: {_eta(self, status)} batch_cost: {status['batch_time']} data_cost: {status['data_time']} "
                f"ips: {images / status['batch_time'].avg:.4f} images/s, max_mem: {peak_memory_mb()} MB")


def _eta(progress, status):
    steps = (progress.model.cfg.epoch - status["epoch_id"]) * status["steps_per_epoch"] - status["step_id"]
    return datetime.timedelta(seconds=int(steps * status["batch_time"].global_avg))
