# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``TrainReader.mixing: {Mosaic: 0.4, Mixup: 0.1}``: the shares of pictures into which others are mixed, and how.

ppdet's own ``mosaic_epoch`` and its kin know one way for all pictures of an epoch, and read five pictures for each
also where chance then takes one. Here chance decides first. In which epochs a way runs says ``transform_schedulers``.
``patches/ppdet.py`` says where the wrapper goes.
"""
from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

KEY = "mixing"
#: transform -> how many pictures it makes one of
PICTURES = {"Mosaic": 4, "Mixup": 2, "Cutmix": 2}
MOSAIC_TAKES = 5  # the fifth is for its enable_mixup
#: these leave a mosaic as it is: it has been scaled and cut already
LEAVE_MOSAICS = ("RandomScaledCrop",)


class Mixing:
    """What a reader's ``mixing`` says, and what it has chosen for the picture that is being read.

    Args:
        shares: {name: share of pictures}.
        transforms: the reader's, of one picture.
        limits: {name: {start_epoch, stop_epoch}} of ``transform_schedulers``.
    """

    def __init__(self, shares: Mapping[str, float], transforms: Sequence[Callable],
                 limits: Mapping[str, Mapping[str, float]]) -> None:
        self.shares, self.limits = dict(shares), dict(limits)
        self.pictures = {name: PICTURES.get(name, 1) for name in shares}
        if any(type(one).__name__ == "Mosaic" and getattr(one, "enable_mixup", False) for one in transforms):
            self.pictures["Mosaic"] = MOSAIC_TAKES
        self.chosen = ""

    def choose(self, epoch: int) -> int:
        """Draw how the next picture is made; how many pictures that takes."""
        running = [name for name in self.shares if self._runs(name, epoch)]
        self.chosen = ""
        chance = np.random.rand() if running else 1.0
        for name in running:
            if chance < self.shares[name]:
                self.chosen = name
                break
            chance -= self.shares[name]
        return self.pictures.get(self.chosen, 1)

    def _runs(self, name, epoch):
        limits = self.limits.get(name, {})
        return limits.get("start_epoch", 0) <= epoch < limits.get("stop_epoch", math.inf)


class Mixes:
    """A transform of several pictures that acts where it was chosen, and lets all else pass."""

    def __init__(self, transform: Callable, mixing: Mixing) -> None:
        self.transform, self.mixing = transform, mixing

    def __call__(self, data: Any, *context: Any) -> Any:
        name = type(self.transform).__name__
        if self.mixing.chosen != name or not isinstance(data, list):
            return data
        missing = MOSAIC_TAKES - len(data) if name == "Mosaic" else 0
        made = self.transform([*data, *data[:1] * missing], *context)
        if "gt_score" not in data[0]:  # others of the batch have none
            made.pop("gt_score", None)
        return made


def mix_by_share(getitem: Callable) -> Callable:
    """For ``DetDataset.__getitem__``: as many pictures as ``mixing`` chooses; without it ppdet's own way."""
    @functools.wraps(getitem)
    def mixed(self, idx):
        mixing = getattr(self, KEY, None)
        if mixing is None:
            return getitem(self, idx)
        others = np.random.randint(len(self.roidbs), size=mixing.choose(self._epoch) - 1)
        records = [copy.deepcopy(self.roidbs[place]) for place in (idx % len(self.roidbs), *others)]
        for record in records:
            record["curr_iter"] = self._curr_iter
        self._curr_iter += 1
        return self.transform(records if len(records) > 1 else records[0])
    return mixed


def class_of(section: Any) -> type | None:
    """The class of a config's data set, in either YAML style; None where it names none."""
    from ppdet.data import source

    if isinstance(section, Mapping):
        return getattr(source, str(section.get("name")), None)
    return None if section is None else type(section)


def can_mix(dataset: type) -> bool:
    """Whether a class of data sets reads its pictures as ``mixing`` needs it."""
    from ppdet.data.source.dataset import DetDataset

    return getattr(dataset, "__getitem__", None) is DetDataset.__getitem__
