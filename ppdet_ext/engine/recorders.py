# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where a run's numbers go beside its own files: VisualDL, Weights & Biases, TensorBoard, MLflow; a row each.

PaddleDetection's own writers stay as they are (names, pictures, artifacts). The others get losses, learning rate and
images per second every ``log_iter`` batches, and the metrics of each evaluation.
"""
from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ppdet.engine.callbacks import VisualDLWriter, WandbCallback

from ..distributed import processes
from ..errors import UserError
from .hooks import CallbackHook, Hook, Status

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")
#: takes {name: number} and the number of batches trained
Scalars = Callable[[Mapping[str, float], int], None]


class Sink(NamedTuple):
    """What one package offers a run: writing numbers, and the end (with the error that ended it, None without)."""

    scalars: Scalars
    end: Callable[[BaseException | None], None]


def tensorboard(trainer: Trainer) -> Sink:
    """An event file in ``tensorboard_log_dir``, else in ``tensorboard/`` beside the checkpoints."""
    from tensorboard.summary import Writer

    writer = Writer(str(trainer.cfg.get("tensorboard_log_dir") or trainer.output / "tensorboard"))

    def scalars(values: Mapping[str, float], step: int) -> None:
        _each(writer, values, step)
        writer.flush()
    return Sink(scalars, lambda error: writer.close())


def mlflow(trainer: Trainer) -> Sink:
    """A run of MLflow's, at the server that MLFLOW_TRACKING_URI names; ``mlflow: {...}`` is for its ``start_run``."""
    import mlflow

    experiment = dict(trainer.cfg.get("mlflow") or {})
    if "experiment" in experiment:
        mlflow.set_experiment(experiment.pop("experiment"))
    mlflow.start_run(**{"run_name": trainer.cfg["filename"], **experiment})
    mlflow.log_params({"run": trainer.run, **trainer.facts.settings})
    return Sink(lambda values, step: mlflow.log_metrics(dict(values), step=step),
                lambda error: mlflow.end_run("FINISHED" if error is None else "KILLED" if isinstance(
                    error, KeyboardInterrupt) else "FAILED"))


class VisualDLHook(CallbackHook):
    """ppdet's writer for VisualDL. A thread writes its file: what came last may not be there when the run is over."""

    def close(self, error: BaseException | None) -> None:
        self.callback.vdl_writer.flush()


class SinkHook(Hook):
    """Tells a sink what happens. One that fails before the run is an error; later it costs its numbers and a warning.

    Args:
        key: the config key that asks for it.
        open_sink: makes it.
    """

    def __init__(self, trainer: Trainer, key: str, open_sink: Callable[[Trainer], Sink]) -> None:
        self.trainer, self.key, self.open_sink = trainer, key, open_sink
        self.sink: Sink | None = None
        self.step = 0

    def before_train(self, status: Status) -> None:
        try:
            self.sink = self.open_sink(self.trainer)
        except Exception as error:  # a server that does not answer, a setting that it does not know, ...
            raise UserError(f"{self.key}: it cannot begin ({_short(error)}); mend that, or -o {self.key}=false"
                            ) from None

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers, between the begin and the end of the run."""
        if self.sink:
            self._try(self.sink.scalars, values, step)

    def _try(self, write: Callable, *values: Any) -> None:
        try:
            write(*values)
        except Exception as error:
            self.sink = None
            log.warning(f"{self.key}: it failed, and gets nothing more of this run ({_short(error)})")

    def after_step(self, status: Status) -> None:
        self.step = status.epoch * status.steps_per_epoch + status.step + 1
        if self.step % status.log_iter == 0:
            images = self.trainer.cfg["TrainReader"]["batch_size"] * processes.count()
            self.scalars({**{f"train/{name}": float(meter.avg) for name, meter in status.losses.meters.items()},
                          "train/learning_rate": float(status.learning_rate),
                          "train/images_per_second": images / status.batch_time.avg}, self.step)

    def after_evaluation(self, status: Status) -> None:
        self.scalars({f"eval/{name}": value for name, value in status.ap.items() if value is not None}, self.step)

    def close(self, error: BaseException | None) -> None:
        if self.sink:
            self._try(self.sink.end, error)
        self.sink = None


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


class Row(NamedTuple):
    """A config key; the module that it needs, and what pip installs for it; the hook; the modes that it serves."""

    key: str
    module: str
    package: str
    hook: Callable[[Any], Hook]
    modes: tuple[str, ...] = ("train",)


def _sink(key: str, open_sink: Callable[[Trainer], Sink]) -> Callable[[Trainer], Hook]:
    return lambda trainer: SinkHook(trainer, key, open_sink)


RECORDERS = (
    Row("use_vdl", "visualdl", "visualdl", lambda trainer: VisualDLHook(VisualDLWriter(trainer)), ("train", "test")),
    Row("use_wandb", "wandb", "wandb", lambda trainer: CallbackHook(WandbCallback(trainer))),
    Row("use_tensorboard", "tensorboard", "'ppdet-ext[tensorboard]'", _sink("use_tensorboard", tensorboard)),
    Row("use_mlflow", "mlflow", "'ppdet-ext[mlflow]'", _sink("use_mlflow", mlflow)),
)


def asked_for(trainer: Trainer) -> list[Hook]:
    """Hooks of the writers that the config asks for; none in processes other than the main one.

    Raises:
        UserError: its package is not installed.
    """
    rows = [row for row in RECORDERS if trainer.cfg.get(row.key) and trainer.mode in row.modes and processes.is_main()]
    for row in rows:
        if importlib.util.find_spec(row.module) is None:
            raise UserError(f"{row.key} needs {row.module}: pip install {row.package}")
    return [row.hook(trainer) for row in rows]


def scalars_of(hooks: Iterable[Hook]) -> list[Scalars]:
    """The ways to write further numbers: VisualDL's, and those of the sinks."""
    found: list[Scalars] = []
    for hook in hooks:
        writer = getattr(getattr(hook, "callback", None), "vdl_writer", None)
        if writer is not None:
            found.append(functools.partial(_each, writer))
        elif isinstance(hook, SinkHook):
            found.append(hook.scalars)
    return found


def _each(writer: Any, values: Mapping[str, float], step: int) -> None:
    for name, value in values.items():
        writer.add_scalar(name, value, step)
