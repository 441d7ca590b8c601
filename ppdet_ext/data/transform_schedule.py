# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``TrainReader.transform_schedulers``: transforms that run in some epochs only (RT-DETRv2 ends without augmentation).

PaddleDetection develop has the key and 2.6.0 does not. Here a scheduled transform is wrapped, so whatever runs
transforms need not know. ``patches/ppdet.py`` says where each wrapper goes.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from . import memory_cache, mixing, worker_threads
from .reading import parse_once

KEY = "transform_schedulers"


class Scheduled:
    """A transform that lets data pass in epochs outside [start_epoch, stop_epoch), counted from 0.

    Args:
        mixes: the reader's ``mixing``, where the transform leaves mosaics alone.

    Attributes:
        dataset: ppdet's data set, which knows the epoch; None until the reader has one.
    """

    def __init__(self, transform: Callable, start_epoch: float = 0, stop_epoch: float = math.inf,
                 mixes: mixing.Mixing | None = None):
        self.transform, self.mixes = transform, mixes
        self.start_epoch, self.stop_epoch = start_epoch, stop_epoch
        self.dataset: Any = None

    def __call__(self, data, *context):
        if self.mixes and self.mixes.chosen == "Mosaic":
            return data
        epoch = 0 if self.dataset is None else self.dataset._epoch
        return self.transform(data, *context) if self.start_epoch <= epoch < self.stop_epoch else data


def _entries(schedulers):
    return [item for entry in schedulers or () for item in entry.items()]


def _wrapped(transform, limits, mixes):
    """A transform as ``transform_schedulers`` and ``mixing`` have it."""
    name = type(transform).__name__
    if mixes and name in mixes.shares:  # whose epochs it knows itself
        return mixing.Mixes(transform, mixes)
    leaves = mixes if name in mixing.LEAVE_MOSAICS else None
    return Scheduled(transform, **limits.get(name, {}), mixes=leaves) if name in limits or leaves else transform


def schedule_transforms(init: Callable) -> Callable:
    """For ``BaseDataLoader.__init__``: wrap the transforms that ``transform_schedulers`` and ``mixing`` name."""
    @functools.wraps(init)
    def scheduled(self, *args, **kwargs):
        init(self, *args, **kwargs)
        limits = dict(_entries(self.kwargs.get(KEY)))
        shares = self.kwargs.get(mixing.KEY)
        self.mixing = mixing.Mixing(shares, self._sample_transforms.transforms_cls, limits) if shares else None
        for compose in (self._sample_transforms, self._batch_transforms):
            compose.transforms_cls = [_wrapped(transform, limits, self.mixing) for transform in compose.transforms_cls]
    return scheduled


def tell(reader: Any, dataset: Any) -> None:
    """Let a reader's scheduled transforms know the data set, whose epoch counts, and that the reader's mixing."""
    if getattr(reader, mixing.KEY, None):
        dataset.mixing = reader.mixing
    for compose in (reader._sample_transforms, reader._batch_transforms):
        for transform in compose.transforms_cls:
            if isinstance(transform, Scheduled):
                transform.dataset = dataset


def tell_dataset(call: Callable) -> Callable:
    """For ``BaseDataLoader.__call__``: what transforms need of the data set, they get before workers are made."""
    @functools.wraps(call)
    def told(self, dataset, *args, **kwargs):
        tell(self, dataset)
        if self.kwargs.get(memory_cache.KEY):
            parse_once(dataset)
            memory_cache.attach(self, dataset)
        return call(self, dataset, *args, **kwargs)
    return told


def next_of_epoch(call: Callable) -> Callable:
    """In place of ``BaseDataLoader.__next__``: the data set learns of the next epoch before its workers are made.

    ppdet's Trainer tells it when the epoch begins, and by then workers with the old number have read ahead.
    """
    @functools.wraps(call)
    def following(self):
        try:
            return next(self.loader)
        except StopIteration:
            worker_threads.wait_for_the_end(self.loader)
            self.dataset.set_epoch(self.dataset._epoch + 1)
            self.loader = iter(self.dataloader)
            raise
    return following
