# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The training loop: epochs, batches, steps of the optimizer; and an evaluation's batches.

Both are plain: what else happens (log, curves, checkpoints, report) are hooks.
"""
from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import paddle
from paddle import nn
from ppdet.metrics import Metric

from ..distributed import processes
from ..distributed.gradients import average_gradients
from ..errors import Interrupted
from .accumulation import GradientAccumulation
from .divergence import Watch
from .hooks import Hook, Status, call
from .metrics import ap_values
from .precision import Precision, widen_gradients
from .replay import Keeper
from .stopping import StopRequest
from .weight_average import WeightAverage

log = logging.getLogger("ppdet.engine")


@dataclass
class TrainingLoop:
    """Trains ``model``, epoch by epoch.

    Args:
        model: gives a dict with 'loss' for a batch, in train mode.
        loader: gives an epoch's batches each time it is iterated over; ``loader.dataset.set_epoch`` is told the epoch.
        optimizer: its own ``grad_clip`` clips.
        schedule: the learning rate, which counts the optimizer's steps.
        accumulation: which batches count as one.
        precision: mixed precision.
        average: the average of weights.
        evaluate: called after every snapshot epoch.
        keeper: explains and keeps a step whose numbers are not finite.
        request: whether a signal has asked the run to end.
        own_scaler: the loss scale, of a resumed run perhaps; None: a new one of ``precision``.
        snapshot_epochs: every so many epochs, and the last one, are snapshots: the model has the averaged weights while
            hooks and evaluation see it.
    """

    model: nn.Layer
    loader: Any
    optimizer: paddle.optimizer.Optimizer
    schedule: paddle.optimizer.lr.LRScheduler
    accumulation: GradientAccumulation
    precision: Precision = field(default_factory=Precision)
    average: WeightAverage | None = None
    evaluate: Callable[[], Any] | None = None
    snapshot_epochs: int = 1
    hooks: Sequence[Hook] = ()
    status: Status = field(default_factory=Status)
    own_scaler: paddle.amp.GradScaler | None = None
    keeper: Keeper | None = None
    request: StopRequest = field(default_factory=StopRequest)

    def run(self, first: int, end: int, done: int = 0) -> None:
        """Train the epochs from ``first`` to ``end`` - 1; fewer where a hook says so.

        Several processes: all call, with equal weights.

        Args:
            done: batches of the epoch ``first`` that an interrupted run has trained; they are read and left.
        Raises:
            Interrupted: a signal came; hooks have seen ``before_stop``.
        """
        with self.request.listening():
            self._run(first, end, done)

    def _run(self, first: int, end: int, done: int) -> None:
        self.status.ends_early, self.status.batches, self.status.saved = "", 0, ""
        self.scaler = self.own_scaler or self.precision.scaler()
        self.watch = Watch(self.model, self.loader.dataset, self.keeper)
        self.status.epoch, self.status.step, self.status.steps_per_epoch = first, done, self.accumulation.batches
        self.status.start_clocks()
        call(self.hooks, "before_train", self.status)
        for epoch in range(first, end):
            self.status.epoch = epoch
            self._train_epoch(done if epoch == first else 0)
            is_snapshot = (epoch + 1) % self.snapshot_epochs == 0 or epoch == end - 1
            with self.average.in_model() if self.average and is_snapshot else contextlib.nullcontext():
                call(self.hooks, "after_epoch", self.status)
                if self.evaluate and is_snapshot:
                    self._evaluate(self.evaluate)
            if self.status.ends_early:
                break
            processes.barrier()
            if epoch < end - 1 and self.request.agreed():
                self._stop(0)
        call(self.hooks, "after_train", self.status)

    def _stop(self, batches: int) -> None:
        """End here, with this many batches of the epoch done; 0: all."""
        status = self.status
        status.batches = batches
        with self.average.in_model(counts=False) if self.average else contextlib.nullcontext():
            call(self.hooks, "before_stop", status)
        place = f"epoch {status.epoch}" + (f", step {batches}" if batches else "")
        how = f"saved as '{status.saved}'; to go on: the same command with -r auto" if status.saved else "nothing saved"
        raise Interrupted(f"interrupted after {place}; {how}", self.request.code)

    def _train_epoch(self, done: int = 0) -> None:
        status = self.status
        call(self.hooks, "before_epoch", status)
        self.loader.dataset.set_epoch(status.epoch)
        self.model.train()
        start = time.time()
        for step, data in enumerate(self._read()):
            if step < done:
                continue
            status.step = step
            status.data_time.update(time.time() - start)
            call(self.hooks, "before_step", status)
            processes.barrier()  # reading data can take one process long
            # between two groups of batches, and not before this process has trained anything
            if step > done and self.accumulation.ends_group(step - 1) and self.request.agreed():
                self._stop(step)
            if isinstance(data, Exception):
                raise data
            data["epoch_id"] = status.epoch
            losses = self._train_batch(data)
            status.losses.update(losses)
            status.batch_time.update(time.time() - start)
            call(self.hooks, "after_step", status)
            start = time.time()

    def _read(self) -> Iterator[Any]:
        """The epoch's batches. After a signal, which a reader's workers may have heard too, an error comes as one."""
        batches = iter(self.loader)
        for given in itertools.count():
            try:
                data = next(batches)
            except StopIteration:
                return
            except Exception as error:
                if not self.request.signal:
                    raise
                if given == self.accumulation.batches:  # they died after their last batch
                    return
                data = error
            yield data

    def _evaluate(self, evaluate: Callable[[], Any]) -> None:
        """Evaluate; after a signal, for the same reason, an error is not the run's."""
        try:
            evaluate()
        except Exception as error:
            if not self.request.signal:
                raise
            log.warning(f"the evaluation broke off: {error}")

    def _train_batch(self, data: dict[str, Any]) -> dict[str, paddle.Tensor]:
        """Forward, backward and, where the batch ends a group, a step; the losses."""
        step, phases = self.status.step, self.status.phases
        with self.watch.batch(data, self.status), phases.of("forward"):
            with self.precision.auto_cast():
                losses = self.model(data)
                call(self.hooks, "add_losses", data, losses)
            self.watch.check(losses)
        with phases.of("backward"):
            self.scaler.scale(losses["loss"] / self.accumulation.group_size(step)).backward()
        self.status.learning_rate = self.optimizer.get_lr()
        if self.accumulation.ends_group(step):
            with phases.of("backward"):
                self._complete_gradients()
            call(self.hooks, "before_update", self.status)
            with phases.of("optimizer"):
                self._move_weights()
            self.watch.weights_moved()
        return losses

    def _complete_gradients(self) -> None:
        if processes.count() > 1:
            average_gradients(self.model.parameters())
        if self.precision.enabled:
            widen_gradients(self.model.parameters())

    def _move_weights(self) -> None:
        if self.scaler.is_enable():
            self.scaler.step(self.optimizer)  # skips where a gradient is not finite
            self.scaler.update()
        else:
            self.optimizer.step()
        self.schedule.step()
        # zeros would lie beside everything that the next forward pass keeps for its backward
        self.optimizer.clear_grad(set_to_zero=False)
        if self.average:
            self.average.update()


def run_evaluation(model: nn.Layer, loader: Iterable, metrics: Sequence[Metric], precision: Precision,
                   status: Status, hooks: Sequence[Hook] = ()) -> None:
    """Evaluate ``model``; ``status`` gets the number of images, the seconds and the AP ({} where no metric has one).

    Several processes: all call, each with its part of the batches and a DistributedMetric.
    """
    # anew each time: as a decorator it is one object, which an evaluation within an evaluation would leave switched on
    with paddle.no_grad():
        _evaluate(model, loader, metrics, precision, status, hooks)


def _evaluate(model, loader, metrics, precision, status, hooks):
    call(hooks, "before_evaluation", status)
    model.eval()
    images, start = 0, time.time()
    for step, data in enumerate(loader):
        status.step = step
        with precision.auto_cast():
            outputs = model(data)
        for metric in metrics:
            metric.update(data, outputs)
        # several sizes of one picture come as a list
        images += len((data[0] if isinstance(data, (list, tuple)) else data)["im_id"])
        call(hooks, "after_evaluation_step", status)
    status.images, status.seconds = sum(processes.all_gather(images)), time.time() - start
    for metric in metrics:
        metric.accumulate()
        metric.log()
    status.ap = ap_values(metrics)
    call(hooks, "after_evaluation", status)
    for metric in metrics:
        metric.reset()
