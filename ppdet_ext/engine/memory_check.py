# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Memory before the run: what it will take beside what is there, the batch that fits, and ``batch_size: auto``.

One image of the largest size that the reader makes is tried (see ``measure.memory_profile``); the rest is counted.
"""
from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn
from ppdet.core.workspace import create

from .. import kernels
from ..data import random_state
from ..data.reading import raise_if_failed, restore_empty
from ..distributed import processes
from ..errors import UserError
from ..measure import memory_profile, memory_there
from ..measure.memory_estimate import RunMemory, size
from ..measure.memory_profile import Allocations, ImageMemory
from ..registry.weights_wanted import without_pretrained
from ..startup import environment
from .precision import Precision
from .rehearsal import parse_once

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")

AUTO = "auto"
HELP = "see docs/does_not_fit.md for what to do"
RESIZING = ("BatchRandomResize", "RandomResize")  # transforms that draw a size for each batch or picture


def largest_size(reader: Mapping[str, Any], read: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the largest picture that a reader makes.

    Args:
        reader: its section of the config.
        read: of a picture that it has made.
    """
    steps = [*(reader.get("sample_transforms") or ()), *(reader.get("batch_transforms") or ())]
    for name, settings in (item for step in reversed(steps) for item in step.items()):
        targets = (settings or {}).get("target_size")
        if name in RESIZING and targets:
            pairs = [tuple(np.broadcast_to(target, 2)) for target in np.atleast_1d(np.array(targets, object))]
            height, width = max(pairs, key=lambda pair: pair[0] * pair[1])
            return int(height), int(width)
        if name == "Resize":
            break
    return read


def trial_batch(cfg: Mapping[str, Any], dataset: Any) -> dict[str, Any]:
    """A batch of one image of the largest size, as TrainReader makes it, with many boxes; noise for pixels.

    Args:
        dataset: a parsed one.
    Raises:
        UserError: the picture cannot be read.
    """
    reader = create("TrainReader")
    record = max(dataset.roidbs, key=lambda one: len(one.get("gt_class", ())))
    sample = reader._sample_transforms({**copy.deepcopy(record), "curr_iter": 0})
    batch = restore_empty(_tensors(raise_if_failed(reader._batch_transforms([sample]))))
    sides = largest_size(cfg["TrainReader"], tuple(batch["image"].shape[-2:]))
    batch["image"] = paddle.to_tensor(np.random.rand(1, 3, *sides).astype("float32"))
    return {**batch, "epoch_id": 0}


def _tensors(value):
    if isinstance(value, dict):
        return {key: _tensors(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_tensors(entry) for entry in value]
    return paddle.to_tensor(value) if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" else value


@contextlib.contextmanager
def evaluation_noted(cfg: Mapping[str, Any], noted: list[int]) -> Iterator[None]:
    """Around a rehearsal: appends the bytes that a batch of EvalReader takes to ``noted``."""
    if not memory_profile.is_possible():
        yield
        return
    memory = Allocations()
    before = memory.held
    yield
    images = cfg["EvalReader"]["batch_size"]
    noted.append((memory.peak - before) * images // min(images, 2))


def before_training(trainer: Trainer, evaluation: int = 0) -> RunMemory | None:
    """Say what the run will take, what is there and which batch fits; what does not fit is a warning.

    Several processes: all call.

    Args:
        evaluation: bytes that an evaluation's batch takes.
    Returns:
        The estimate; None where there is none (a line says why).
    """
    cfg, images = trainer.cfg, trainer.cfg["TrainReader"]["batch_size"]
    profile = trainer.memory_profile or _try(cfg, trainer.model, trainer.dataset, trainer.precision)
    if profile is None:
        return None
    run = _run(cfg, profile, trainer.optimizer, trainer.precision, evaluation)
    there = _there(run)
    if processes.is_main():
        parts = ", ".join(f"{name} {size(count)}" for name, count in run.parts(images).items())
        log.info(f"memory: the run takes about {size(run.peak(images))} of {there.kind} at its peak ({images} images "
                 f"of {profile.height}x{profile.width}): {parts}")
        log.info(f"memory: {_found(there)}; {_fitting(run, there, images)}")
        _warn(run, there, images)
    return run


def _found(there):
    return (f"{size(there.most)} of {there.kind} are there ({'the cgroup' if there.group else 'the machine'} has "
            f"{size(there.total)})" if there.kind == "RAM" else
            f"{size(there.most)} of {there.kind} are there (of {size(there.total)})")


def _fitting(run, there, images):
    most = run.largest(there)
    return f"TrainReader.batch_size fits up to {most}" if most else "not even TrainReader.batch_size 1 surely fits"


def _warn(run, there, images):
    if run.peak(images) > there.most:
        most = run.largest(there)
        remedy = f"-o TrainReader.batch_size={most} fits" if most else "no batch fits"
        log.warning(f"memory: TOO LITTLE: about {size(run.peak(images))} of {there.kind} are needed and "
                    f"{size(there.most)} are there; {remedy}; {HELP}")
    if run.on_gpu:
        ram, needed = memory_there.ram(), run.process + run.readers(images)
        if needed > ram.most:
            log.warning(f"memory: TOO LITTLE: about {size(needed)} of RAM are needed for this process and its readers, "
                        f"and {size(ram.most)} are there; -o worker_num=1; {HELP}")


def choose_batch(trainer: Trainer) -> None:
    """``TrainReader.batch_size: auto``: put the number into the config, the same in every process (all call).

    The network is built and tried here, and forgotten: afterwards the run goes as one that is given this number.

    Raises:
        UserError: there is no estimate, or not one image fits.
    """
    cfg, dataset = trainer.cfg, trainer.dataset
    parse_once(dataset)
    with random_state.kept(), without_pretrained(), paddle.utils.unique_name.guard(), kernels.enabled():
        numbers = random_state.of_paddle()
        model = create(cfg["architecture"])
        model.load_meanstd(cfg["TestReader"]["sample_transforms"])
        optimizer = create("OptimizerBuilder")(1e-4, model)
        trainer.precision.decorate(model, optimizer)
        profile = _try(cfg, model, dataset, trainer.precision)
        if profile is None:
            raise UserError("TrainReader.batch_size is auto, but memory cannot be estimated; write a number: "
                            "-o TrainReader.batch_size=4")
        run = _run(cfg, profile, optimizer, trainer.precision)
        del model
        random_state.restore_paddle(numbers)
    environment.give_back_freed_memory()
    there = _there(run)
    images = min(processes.all_gather(run.largest(there, max(len(dataset.roidbs) // processes.count(), 1))))
    if not images:
        raise UserError(f"TrainReader.batch_size is auto, but not even one image of {profile.height}x{profile.width} "
                        f"surely fits: about {size(run.peak(1))} of {there.kind} are needed, {size(there.most)} are "
                        f"there; {HELP}")
    cfg["TrainReader"]["batch_size"], trainer.memory_profile = images, profile
    if processes.is_main():
        log.info(f"TrainReader.batch_size: auto is {images}{' in each process' if processes.count() > 1 else ''}: "
                 f"about {size(run.peak(images))} of {there.kind} for images of {profile.height}x{profile.width}, and "
                 f"{size(there.most)} are there; base_lr stays {cfg['LearningRate']['base_lr']:g}")


def _try(cfg: Mapping[str, Any], model: nn.Layer, dataset: Any, precision: Precision) -> ImageMemory | None:
    """The profile of one image; None, and a line, where it cannot be had."""
    if not memory_profile.is_possible():
        log.info("memory: not estimated: this needs Paddle 3, on a CPU or a GPU")
        return None
    if not getattr(dataset, "roidbs", None):
        log.info("memory: not estimated: the data set has no list of pictures")
        return None
    try:
        with random_state.kept():
            return memory_profile.profile(model, trial_batch(cfg, dataset), precision.auto_cast)
    finally:
        environment.give_back_freed_memory()
        if paddle.get_device().startswith("gpu"):
            paddle.device.cuda.empty_cache()


def _run(cfg, profile, optimizer, precision, evaluation=0):
    on_gpu = paddle.get_device().startswith("gpu")
    held = memory_there.ram().held - (0 if on_gpu else Allocations().held)
    return RunMemory(profile, type(optimizer).__name__, bool(cfg.get("use_ema")), cfg.get("accumulate_steps", 1) > 1,
               precision.half_weights, evaluation, cfg["worker_num"], held, on_gpu)


def _there(run):
    return memory_there.gpu() if run.on_gpu else memory_there.ram()
