# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Memory before the run: what it will take beside what is there, the batch that fits, and ``batch_size: auto``.

One image of the largest size that the reader makes is tried (see ``measure.memory_profile``); the rest is counted.
"""
from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn
from ppdet.core.workspace import create

from .. import kernels
from ..data import memory_cache, random_state
from ..data.reading import as_tensors, parse_once, read_batch, restore_empty
from ..distributed import processes
from ..errors import UserError
from ..measure import memory_profile, memory_there
from ..measure.memory_estimate import RunMemory, size
from ..measure.memory_profile import Allocations
from ..registry.weights_wanted import without_pretrained
from ..startup import environment

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


def trial_batch(cfg: Mapping[str, Any], dataset: Any) -> dict[str, Any] | None:
    """A batch of one image of the largest size, as TrainReader makes it, with many boxes; noise for pixels.

    Call it before there is a reader: where that has no workers, it draws from the same random numbers meanwhile.

    Args:
        dataset: is parsed here, once for all.
    Returns:
        The batch; None, and a line, where there can be none.
    """
    if not memory_profile.is_possible():
        log.info("memory: not estimated: this needs Paddle 3, on a CPU or a GPU")
        return None
    parse_once(dataset)
    records = getattr(dataset, "roidbs", None)
    if not records:
        log.info("memory: not estimated: the data set has no list of pictures")
        return None
    with random_state.kept():
        try:
            return _batch_of(max(records, key=lambda record: len(record.get("gt_class", ()))), cfg["TrainReader"])
        except UserError as error:  # the epoch will meet it, too
            log.info("memory: not estimated: %s", error)
            return None


def _batch_of(record, settings):
    batch = restore_empty(as_tensors(read_batch(create("TrainReader"), [record])))
    sides = largest_size(settings, tuple(batch["image"].shape[-2:]))
    return {**batch, "image": paddle.to_tensor(np.random.rand(1, 3, *sides).astype("float32")), "epoch_id": 0}


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


def before_training(trainer: Trainer, evaluation: int = 0) -> None:
    """Say what the run will take (``trainer.memory``), what is there and which batch fits; too little is a warning.

    Several processes: all call.

    Args:
        evaluation: bytes that an evaluation's batch takes.
    """
    cfg, images = trainer.cfg, trainer.cfg["TrainReader"]["batch_size"]
    with random_state.kept():
        tried = trainer.memory or _try(trainer, trainer.model, trainer.optimizer)
    trainer.trial = None
    if tried is None:
        return
    run = trainer.memory = dataclasses.replace(tried, evaluation=evaluation, workers=cfg["worker_num"],
                                               pictures=_pictures(trainer, evaluation > 0))
    there = _there(run)
    if processes.is_main():
        parts = ", ".join(f"{name} {size(count)}" for name, count in run.parts(images).items())
        log.info(f"memory: the run takes about {size(run.peak(images))} of {there.kind} at its peak ({images} images "
                 f"of {run.profile.height}x{run.profile.width}): {parts}")
        log.info(f"memory: {_found(there)}; {_fitting(run, there, images)}")
        _warn(run, there, images)


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
        ram, needed = memory_there.ram(), run.process + run.readers(images) + run.pictures
        if needed > ram.most:
            log.warning(f"memory: TOO LITTLE: about {size(needed)} of RAM are needed for this process and its readers, "
                        f"and {size(ram.most)} are there; -o worker_num=1; {HELP}")


def choose_batch(trainer: Trainer) -> None:
    """``TrainReader.batch_size: auto``: put the number into the config, the same in every process (all call).

    The network is built and tried here, and forgotten: afterwards the run goes as one that is given this number.

    Raises:
        UserError: there is no estimate, or not one image fits.
    """
    cfg = trainer.cfg
    with random_state.kept(), without_pretrained(), paddle.utils.unique_name.guard(), kernels.enabled():
        numbers = random_state.of_paddle()
        model = create(cfg["architecture"])
        model.load_meanstd(cfg["TestReader"]["sample_transforms"])
        optimizer = create("OptimizerBuilder")(1e-4, model)
        trainer.precision.decorate(model, optimizer)
        run = _try(trainer, model, optimizer)
        if run is None:
            raise UserError("TrainReader.batch_size is auto, but memory cannot be estimated; write a number: "
                            "-o TrainReader.batch_size=4")
        random_state.restore_paddle(numbers)
    there, side = _there(run), f"{run.profile.height}x{run.profile.width}"
    images = min(processes.all_gather(run.largest(there, max(len(trainer.dataset.roidbs) // processes.count(), 1))))
    if not images:
        raise UserError(f"TrainReader.batch_size is auto, but not even one image of {side} "
                        f"surely fits: about {size(run.peak(1))} of {there.kind} are needed, {size(there.most)} are "
                        f"there; {HELP}")
    cfg["TrainReader"]["batch_size"], trainer.memory = images, run
    if processes.is_main():
        log.info(f"TrainReader.batch_size: auto is {images}{' in each process' if processes.count() > 1 else ''}: "
                 f"about {size(run.peak(images))} of {there.kind} for images of {side}, and "
                 f"{size(there.most)} are there; base_lr stays {cfg['LearningRate']['base_lr']:g}")


def _try(trainer: Trainer, model: nn.Layer, optimizer: paddle.optimizer.Optimizer) -> RunMemory | None:
    """What the run takes, by trying one image; None where there is none to try."""
    if trainer.trial is None:
        return None
    cfg, precision, on_gpu = trainer.cfg, trainer.precision, paddle.get_device().startswith("gpu")
    # before the trial, after which the heap is larger
    process = memory_there.ram().held - (0 if on_gpu else Allocations().held)
    with environment.large_blocks_apart():
        tried = memory_profile.profile(model, trainer.trial, precision.auto_cast)
    if on_gpu:
        paddle.device.cuda.empty_cache()
    return RunMemory(tried, type(optimizer).__name__, bool(cfg.get("use_ema")), cfg.get("accumulate_steps", 1) > 1,
                     precision.half_weights, 0, cfg["worker_num"], process, on_gpu, _pictures(trainer, False))


def _pictures(trainer, evaluates):
    """Bytes that the readers' memory_cache will hold."""
    cfg = trainer.cfg
    found = memory_cache.planned(cfg["TrainReader"], trainer.dataset.roidbs or ())
    return found + (memory_cache.planned(cfg["EvalReader"], cfg["EvalDataset"].roidbs or ()) if evaluates else 0)


def _there(run):
    return memory_there.gpu() if run.on_gpu else memory_there.ram()
