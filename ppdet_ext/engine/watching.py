# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A run watches itself: what it measures goes into metrics.jsonl, and what is wrong is said once, with what to do."""
from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..distributed import processes
from ..distributed.shared_evaluation import DistributedMetric
from ..startup import environment
from . import measurements, metrics, recorders, replay
from .hooks import Hook, Status
from .loop import run_evaluation
from .metrics_file import MetricsFile
from .optimizer import empty_groups
from .phases import works_later
from .training_report import started_from
from .watch_rules import RULES, Reading, Run, Sight

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")
# optimizers whose step grows with the gradient
PLAIN = ("SGD", "Momentum")
# mean age of the averaged weights over the steps so far, from which the raw weights are evaluated, too
AGED = 0.05
PHASES = ("forward", "backward", "optimizer")


class Watching(Hook):
    """Measures every ``log_iter`` batches, and at the end of the run; nothing that is trained changes.

    Only the main process measures and writes. On a GPU, seconds of backward and optimizer are those of the measured
    batches alone, since each part waits there for the device.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.active = processes.is_main()
        self.file = MetricsFile(trainer.output)
        self.sight = Sight(Run())
        self.writers: list[recorders.Scalars] = []
        self.step, self._evaluations = 0, 0
        self._resumed: tuple[Path, int, int] | None = None
        self._said: set[str] = set()

    def resume(self, folder: Path, epoch: int, batches: int = 0) -> None:
        """Go on with the lines of the run in ``folder``, up to that many batches of ``epoch``."""
        self._resumed = folder, epoch, batches

    def keeper(self) -> replay.Keeper | None:
        """Who explains numbers that are not finite. Several processes find out after the weights have moved: None."""
        if processes.count() > 1:
            return None
        return replay.Keeper(self.trainer.model, self.trainer.precision, self.trainer.output / replay.NAME,
                             lambda message: self.warn("not_finite", message, said=True))

    # ---------------------------------------------------------------- the run
    def before_train(self, status: Status) -> None:
        trainer = self.trainer
        self._evaluations = 0
        if not self.active:
            return
        folder, epoch, batches = self._resumed or (None, 0, 0)
        self.step = epoch * status.steps_per_epoch + batches
        self._said = self.file.begin(folder, self.step)
        self.parts = measurements.learning_parts(trainer.model)
        self.updates = measurements.Updates(self.parts)
        self.statistics = measurements.Statistics(trainer.model)
        self.writers = recorders.scalars_of(trainer.hooks)
        self.sight = Sight(run_of(trainer, list(self.parts)))
        self._start = time.time()
        self._restart(status)
        self._apply("start")

    def before_step(self, status: Status) -> None:
        if self.active:
            status.phases.counting = not works_later() or self._due(status, self._end_of_group(status))

    def before_update(self, status: Status) -> None:
        if self.active and self._due(status, status.step):
            trainer, scale = self.trainer, 1.0
            if trainer.scaler.is_enable():
                scale = float(trainer.scaler.state_dict()["scale"])
            self._gradient = measurements.gradient_norm(trainer.model.parameters(), scale)
            self._idle = [part for part, named in self.parts.items() if all(p.grad is None for p in named.values())]
            self.updates.before(self._masters())

    def after_step(self, status: Status) -> None:
        if not self.active:
            return
        self._batches += 1
        self._seconds += status.batch_time.value
        self._waited += status.data_time.value
        if status.phases.counting:
            self._counted += status.batch_time.value
        self.step = self._number(status, status.step)
        if self._due(status, status.step):
            self._read(status)
            self._restart(status)
            self._apply("step")

    def after_evaluation(self, status: Status) -> None:
        self._evaluations += 1
        line = {"kind": "eval", "step": self.step, "epoch": status.epoch, "metrics": dict(status.ap),
                "evaluation": {"images": status.images, "seconds": round(status.seconds, 3)}}
        if self._raw_are_wanted(status):
            line["raw"] = self._raw()
        if self.active:
            self._write(line)
            self.sight.evaluation = line
            self._apply("evaluation")

    # ---------------------------------------------------------------- an interval
    def _number(self, status, step):
        """Batches of the run up to and with ``step`` of this epoch."""
        return status.epoch * status.steps_per_epoch + step + 1

    def _end_of_group(self, status):
        every = self.trainer.accumulation.every
        return min(status.step - status.step % every + every, status.steps_per_epoch) - 1

    def _due(self, status, step):
        """Whether batch ``step`` of this epoch ends an interval: it ends a group, and log_iter batches are over."""
        number = self._number(status, step)
        return self.trainer.accumulation.ends_group(step) and (
            number // status.log_iter > self._last // status.log_iter
            or number == self.trainer.end_epoch * status.steps_per_epoch)

    def _restart(self, status):
        self._last, self._batches, self._seconds, self._waited, self._counted = self.step, 0, 0.0, 0.0, 0.0
        self._gradient, self._idle = None, []
        self._processors = _Processors()
        status.phases.seconds.clear()

    def _read(self, status):
        images = self._batches * self.trainer.cfg["TrainReader"]["batch_size"] * processes.count()
        share = {"data": self._waited / self._seconds}
        share.update({name: status.phases.seconds.get(name, 0.0) / max(self._counted, 1e-9) for name in PHASES})
        base = float(status.learning_rate)
        line = {
            "kind": "train", "step": self.step, "epoch": status.epoch, "seconds": round(time.time() - self._start, 3),
            "images_per_second": _short(images / self._seconds),
            "share": {name: round(value, 4) for name, value in share.items()}, "memory": measurements.memory(),
            "cpu_percent": round(self._processors.percent(), 1), "grad_norm": _short(self._gradient),
            "lr": {part: _short(base * max(p.optimize_attr["learning_rate"] for p in named.values()))
                   for part, named in self.parts.items()},
            "loss": {name: _short(_mean(meter, self._batches)) for name, meter in status.losses.meters.items()},
            "update_ratio": {part: _short(ratio) for part, ratio in self.updates.ratios(self._masters()).items()}}
        self._write(line)
        self.sight.add(Reading(line, base / self.trainer.cfg["LearningRate"]["base_lr"],
                               measurements.share_taken(line["memory"]), *self.statistics.growth(), self._idle))

    def _masters(self):
        if not self.trainer.precision.half_weights:
            return {}
        return self.trainer.optimizer.state_dict().get("master_weights", {})

    def _write(self, line):
        self.file.write(line)
        if self.writers:
            found = {f"watch/{name}": value for name, value in _scalars(line)}
            for write in self.writers:
                write(found, line["step"])

    def _apply(self, when):
        """Say what rules find, each once a run."""
        for rule in RULES:
            if rule.when == when and rule.name not in self._said and rule.found(self.sight):
                self.warn(rule.name, rule.text(self.sight), rule.said)

    def warn(self, name: str, message: str, said: bool = False) -> None:
        """Write a warning, and log it unless another line has ``said`` it."""
        self._said.add(name)
        if not said:
            log.warning(f"watch: {message} [{name}]")
        self.file.write({"kind": "warning", "rule": name, "step": self.step, "message": message})

    # ---------------------------------------------------------------- the weights without average
    def _raw_are_wanted(self, status):
        """At the first evaluation and the last, where the average is so old that it can be worse. All processes agree.
        """
        trainer = self.trainer
        if trainer.average is None or not status.ap:
            return False
        ends = self._evaluations == 1 or status.epoch == trainer.end_epoch - 1
        steps = (status.epoch + 1) * trainer.accumulation.steps_per_epoch
        ema = trainer.ema
        return ends and measurements.average_age(ema.ema_decay_type, ema.decay, steps) > AGED * steps

    def _raw(self):
        """AP of the weights as they are trained, by ppdet's metric in silence; its files go nowhere."""
        trainer, status = self.trainer, Status()
        dataset = trainer.cfg["EvalDataset"]
        with trainer.average.own_in_model(), tempfile.TemporaryDirectory() as folder, _quiet():
            processes.broadcast_from_main(trainer.model)
            metric = metrics.box_metric({**trainer.cfg, "output_eval": folder, "classwise": False}, dataset)
            found = [DistributedMetric([metric])] if processes.count() > 1 else [metric]
            run_evaluation(trainer.model, trainer.evaluation_loader, found, trainer.precision, status)
        return dict(status.ap)


def run_of(trainer: Trainer, parts: list[str]) -> Run:
    """What the rules want to know of a trainer in mode 'train'."""
    cfg, optimizer, ema = trainer.cfg, trainer.optimizer, trainer.ema
    steps = trainer.end_epoch * trainer.accumulation.steps_per_epoch
    age = measurements.average_age(ema.ema_decay_type, ema.decay, steps) / steps if ema is not None else 0.0
    return Run(
        workers=cfg["worker_num"], processors=environment.cores(), batch_size=cfg["TrainReader"]["batch_size"],
        clip_norm=getattr(optimizer._grad_clip, "clip_norm", None), adaptive=type(optimizer).__name__ not in PLAIN,
        warm_up=trainer.plan.warm * trainer.accumulation.every, has_weights=_from_detector(trainer),
        pretrained=not started_from(trainer).startswith("random"),
        average=ema.ema_decay_type if ema is not None else "", decay=ema.decay if ema is not None else 0.0,
        average_age=age, steps=steps,
        empty_groups=empty_groups(trainer.model, cfg["OptimizerBuilder"]), parts=parts)


def _from_detector(trainer):
    """Whether training began from a whole detector's weights, whose loss is low already."""
    return trainer.started_from.startswith(("the detector", "checkpoint"))


def _mean(meter, count):
    """Of the last ``count`` values; the meter may hold fewer."""
    values = [float(value) for value in list(meter.deque)[-count:]]
    return sum(values) / len(values)


def _short(number):
    return None if number is None else float(f"{number:.6g}")


def _scalars(line: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """[('share/data', 0.1), ...]: the numbers of a line."""
    found = []
    for name, value in line.items():
        if isinstance(value, dict):
            found += _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and name not in ("step", "epoch"):
            found.append((f"{prefix}{name}", value))
    return found


class _Processors:
    """Seconds of processors that this process and its reader's workers have used since it was made."""

    def __init__(self) -> None:
        self._began, self._used = time.perf_counter(), self._seconds()

    def percent(self) -> float:
        """100 is one processor."""
        now, seconds = self._seconds(), max(time.perf_counter() - self._began, 1e-9)
        return 100 * sum(value - self._used.get(key, 0.0) for key, value in now.items()) / seconds

    def _seconds(self):
        import psutil

        found = {0: time.process_time()}
        for child in multiprocessing.active_children():
            with contextlib.suppress(psutil.Error):  # it has just ended
                times = psutil.Process(child.pid).cpu_times()
                found[child.pid] = times.user + times.system
        return found


@contextlib.contextmanager
def _quiet():
    """Without the tables that metrics print and log."""
    with environment.logging_at(logging.WARNING, "ppdet", "ppdet.engine", "ppdet.metrics"), \
            contextlib.redirect_stdout(io.StringIO()):
        yield
