# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a run needs, beside weights and optimizer, to go on to the bit: random numbers, the loss scale, the average.

It lies in .pdopt under one key, which PaddleDetection leaves alone.
"""
from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddle

from ..data import random_state, worker_threads
from ..distributed import processes
from ..errors import UserError

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")
KEY = "ppdet_ext"


def random_of_all(trainer: Trainer) -> list[dict[str, Any]]:
    """Each process's random numbers, at the end of an epoch; all call."""
    own = {"reader": getattr(trainer.loader.loader, "random", None), "paddle": random_state.of_paddle()}
    return processes.all_gather(own)


def collect(trainer: Trainer, random: list[dict[str, Any]]) -> dict[str, Any]:
    """What is to be kept, as plain values and arrays; ``random`` is :func:`random_of_all`'s."""
    state: dict[str, Any] = {"random": random, "scaler": trainer.scaler.state_dict()}
    status, ema = trainer.status, trainer.ema
    if status.batches:  # an epoch is under way
        state["epoch"] = {"batches": status.batches, "of": status.steps_per_epoch, **trainer.history.of_epoch()}
    if ema is not None:
        state["average"] = {"step": ema.step, "epoch": ema.epoch}
        if ema.ema_decay_type != "exponential":  # .pdparams then has it divided, which cannot be undone to the bit
            state["average"]["sum"] = {name: value.numpy() for name, value in ema.state_dict.items()
                                       if name not in ema.ema_black_list}
    return state


def restore(trainer: Trainer, state: dict[str, Any] | None, epoch: int, path: str | Path) -> None:
    """Put back what :func:`collect` gave at the end of epoch ``epoch`` - 1 or within ``epoch``, and begin to read that.

    Args:
        state: None where the checkpoint is an older version's.
        path: the .pdopt, for messages.

    Raises:
        UserError: the state is damaged.
    """
    own, why = _own(state)
    try:
        _restart_reader(trainer.loader, epoch, own.get("reader"))
        trainer.start_batch = _batches(trainer, (state or {}).get("epoch"))
        if own and not random_state.restore_paddle(own["paddle"]):
            why = "it is of other devices, or of Paddle 2.6 on a CPU"
        scaler = (state or {}).get("scaler")
        if scaler and trainer.scaler.is_enable():
            trainer.scaler.load_state_dict(scaler)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"cannot resume: '{path}' is damaged (its '{KEY}': {type(error).__name__}: {error})") from None
    if why:
        log.warning(f"'{path}' has no random numbers for this run ({why}): augmentation and stochastic depth go on "
                    "with others than an unbroken run would draw")


def _batches(trainer, begun):
    """Batches of the first epoch that are done. Where epochs have other lengths now, the same share of it."""
    if not begun:
        return 0
    done, of, every = int(begun["batches"]), int(begun["of"]), trainer.accumulation.every
    if not 0 < done < of:
        raise ValueError(f"batch {done} of {of}")
    if of == trainer.accumulation.batches and done % every == 0:
        trainer.history.go_on(begun)
        return done
    return done * trainer.accumulation.batches // of // every * every


def restore_average(ema: Any, state: dict[str, Any] | None) -> None:
    """Over what ``load_weights.resume_average`` made of the weights: the counts, and the undivided sum to the bit."""
    kept = (state or {}).get("average")
    if kept is not None:
        ema.resume({name: paddle.to_tensor(value) for name, value in kept.get("sum", {}).items()}, kept["step"])
        ema.epoch = kept["epoch"]


def _own(state):
    """(this process's random numbers or {}, why there are none)."""
    everyones = (state or {}).get("random", [])
    if len(everyones) == processes.count():
        return everyones[processes.rank()], ""
    return {}, f"it is of {len(everyones)} processes, now there are {processes.count()}" if everyones else "it is older"


def _restart_reader(loader, epoch, state):
    """Batches of ``epoch``, drawn from ``state`` on, in place of the first one's."""
    worker_threads.stop(loader.loader)
    if state is not None:
        random_state.restore_reader(state)
    # the sampler shuffles by its own epoch number
    loader.dataset.set_epoch(epoch)
    loader._batch_sampler.set_epoch(epoch)
    loader.loader = iter(loader.dataloader)

