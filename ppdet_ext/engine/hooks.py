# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Hooks: what may happen around training besides moving weights, and the way for ppdet's callbacks to be one."""
from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle
from ppdet.engine.callbacks import Callback
from ppdet.utils import profiler
from ppdet.utils.stats import SmoothedValue, TrainingStats

from ..distributed import processes
from ..startup import environment
from .phases import Phases


class MeanStats(TrainingStats):
    """ppdet's losses, averaged over the processes, so that the curve is the whole batch's."""

    def update(self, stats: dict[str, paddle.Tensor]) -> None:
        """Take a step's losses; all processes call."""
        own = paddle.stack([value.detach().astype("float32").reshape([]) for value in stats.values()])
        super().update(dict(zip(stats, processes.all_reduce_sum(own) / processes.count())))


@dataclass
class Status:
    """Where a run is. The loop writes it, hooks read it.

    Attributes:
        epoch, step: from 0; ``step`` counts batches, of the epoch or of the evaluation.
        ends_early: why the run ends after this epoch; '' where it does not.
        batches: where a signal ends the run: batches of the epoch that are done, 0 for all.
        saved: the checkpoint to go on from, then.
        steps_per_epoch: batches of an epoch.
        learning_rate: of the last batch.
        losses: the last batch's and smoothed ones, by name (``losses.meters``).
        batch_time, data_time: seconds for a batch, and for its data alone.
        phases: seconds of the parts of steps, where somebody counts them.
        images, seconds: of the last evaluation.
        ap: the last evaluation's {'AP': ..., 'AP50': ...}.
    """

    log_iter: int = 20
    epoch: int = 0
    step: int = 0
    steps_per_epoch: int = 0
    learning_rate: float = 0.0
    images: int = 0
    seconds: float = 0.0
    ap: dict[str, float | None] = field(default_factory=dict)
    ends_early: str = ""
    batches: int = 0
    saved: str = ""
    phases: Phases = field(default_factory=Phases)

    def __post_init__(self) -> None:
        self.start_clocks()

    def start_clocks(self) -> None:
        """Forget losses and times of an earlier run."""
        self.batch_time = SmoothedValue(self.log_iter, fmt="{avg:.4f}")
        self.data_time = SmoothedValue(self.log_iter, fmt="{avg:.4f}")
        self.losses = (MeanStats if processes.count() > 1 else TrainingStats)(self.log_iter)


class Hook:
    """What happens at these points of a run; a subclass overrides those that it needs."""

    def before_train(self, status: Status) -> None:
        """Once, before the first epoch."""

    def before_epoch(self, status: Status) -> None:
        """Before an epoch's first batch."""

    def before_step(self, status: Status) -> None:
        """A batch is read and not yet used."""

    def add_losses(self, data: dict[str, Any], losses: dict[str, paddle.Tensor]) -> None:
        """The model has given its losses for the batch: a further one is added to 'loss', and under its own name."""

    def before_update(self, status: Status) -> None:
        """The gradients of a group of batches are complete, in all processes equal; the weights have not moved yet.

        Under float16 the gradients are those of the scaled loss.
        """

    def after_step(self, status: Status) -> None:
        """A batch is done: ``status`` has its losses; where it ended a group, the weights have moved."""

    def after_epoch(self, status: Status) -> None:
        """After an epoch's last batch. On snapshot epochs the model has the averaged weights already."""

    def before_evaluation(self, status: Status) -> None:
        """Before an evaluation's first batch."""

    def after_evaluation_step(self, status: Status) -> None:
        """An evaluation's batch is done."""

    def after_evaluation(self, status: Status) -> None:
        """``status.ap`` is there; the model still has the weights that were evaluated."""

    def after_train(self, status: Status) -> None:
        """Once, after the last epoch."""

    def before_stop(self, status: Status) -> None:
        """A signal ends the run here, in place of ``after_train``; the model has the averaged weights."""

    def close(self, error: BaseException | None) -> None:
        """The run is over, by its end (None) or by an error; perhaps before anything else was called."""

    def after_picture(self, original: np.ndarray, drawn: np.ndarray) -> None:
        """In prediction: a picture [H, W, 3], and the same with its boxes."""


def call(hooks: Iterable[Hook], point: str, *arguments: Any) -> None:
    """Call the method ``point`` of every hook, in order."""
    for hook in hooks:
        getattr(hook, point)(*arguments)


@contextlib.contextmanager
def closing(hooks: Iterable[Hook]) -> Iterator[None]:
    """Close every hook at the end, and where an error ends what is inside."""
    try:
        yield
    except BaseException as error:
        call(hooks, "close", error)
        raise
    call(hooks, "close", None)


class CallbackHook(Hook):
    """One of ppdet's callbacks (VisualDLWriter, WandbCallback, a user's own) as a hook.

    ppdet tells training, evaluation and prediction apart by ``status['mode']``.
    """

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        self._trains = False

    def before_train(self, status: Status) -> None:
        self._trains = True
        self.callback.on_train_begin(self._as_dict(status, "train"))

    def before_epoch(self, status: Status) -> None:
        self.callback.on_epoch_begin(self._as_dict(status, "train"))

    def before_step(self, status: Status) -> None:
        self.callback.on_step_begin(self._as_dict(status, "train"))

    def after_step(self, status: Status) -> None:
        self.callback.on_step_end(self._as_dict(status, "train"))

    def after_epoch(self, status: Status) -> None:
        self.callback.on_epoch_end(self._as_dict(status, "train"))

    def before_evaluation(self, status: Status) -> None:
        self.callback.on_epoch_begin(self._as_dict(status, "eval"))

    def after_evaluation_step(self, status: Status) -> None:
        self.callback.on_step_end(self._as_dict(status, "eval"))

    def after_evaluation(self, status: Status) -> None:
        self.callback.on_epoch_end(self._as_dict(status, "eval"))

    def after_train(self, status: Status) -> None:
        self.callback.on_train_end(self._as_dict(status, "train"))

    def before_stop(self, status: Status) -> None:
        self.callback.on_train_end(self._as_dict(status, "train"))

    def after_picture(self, original: np.ndarray, drawn: np.ndarray) -> None:
        self.callback.on_step_end({"mode": "test", "original_image": original, "result_image": drawn})

    def _as_dict(self, status: Status, mode: str) -> dict[str, Any]:
        """ppdet's status (``training_staus`` is its spelling)."""
        return {"mode": mode, "epoch_id": status.epoch, "step_id": status.step,
                "steps_per_epoch": status.steps_per_epoch, "learning_rate": status.learning_rate,
                "training_staus": status.losses, "batch_time": status.batch_time, "data_time": status.data_time,
                "sample_num": status.images, "cost_time": status.seconds, "save_best_model": self._trains}


class GiveBackOnce(Hook):
    """Gives the memory that the first training step has freed back to the system, see ``startup.environment``."""

    def __init__(self) -> None:
        self._due = True

    def after_step(self, status: Status) -> None:
        if self._due:
            self._due = False
            environment.give_back_freed_memory()


class Profile(Hook):
    """Paddle's profiler over some of the steps, as ``profiler_options`` says (see ppdet/utils/profiler.py)."""

    def __init__(self, options: str) -> None:
        self.options = options

    def before_step(self, status: Status) -> None:
        profiler.add_profiler_step(self.options)
