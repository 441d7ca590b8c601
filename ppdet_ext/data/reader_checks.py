# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Readers whose parts do not go together are found before anything is built; by themselves they crash, or do nothing.

Mixup, Cutmix and Mosaic take several pictures at once. The reader's ``mosaic_epoch`` and its like say in which epochs
the data set gives several; a transform that gets one picture lets it pass, and no other transform can take several.
"""
from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..config.reader_keys import MIXING
from ..errors import UserError
from . import mixing

logger = logging.getLogger("ppdet.engine")

WEIGHED = ("Mixup", "Cutmix")  # they say by gt_score how much a box counts
READERS = {"train": ("TrainReader", "EvalReader"), "eval": ("EvalReader",), "test": ("TestReader",)}


def check(cfg: Mapping[str, Any], mode: str) -> None:
    """Check the readers that ``mode`` uses.

    Raises:
        UserError: the first mistake found.
    """
    for section in READERS[mode]:
        reader = cfg.get(section)
        if isinstance(reader, Mapping):
            _check_several(section, reader)
            if reader.get(mixing.KEY):
                _check_shares(section, reader, cfg.get("TrainDataset"))


def _names(reader, key="sample_transforms"):
    return [name for entry in reader.get(key) or () if isinstance(entry, Mapping) for name in entry]


def _check_several(section, reader):
    """Transforms of several pictures, and the epochs in which there are several."""
    names = _names(reader)
    given = {key: reader[key] for key in (*MIXING, "pre_img_epoch") if reader.get(key) is not None}
    shares = reader.get(mixing.KEY) or {}
    used = {key: name for key, name in MIXING.items() if name in names}
    active = [key for key, value in given.items() if value >= 0]
    if section != "TrainReader" and (used or active or shares):
        raise UserError(f"{section}: {[*used.values(), *active, *shares][0]} mixes pictures, which is for TrainReader "
                        "alone; take it out")
    if "pre_img_epoch" in active:
        raise UserError(f"{section}.pre_img_epoch is CenterTrack's, which is not supported; take it out")
    for key in active:
        if key not in used:
            raise UserError(f"{section}.{key} is {given[key]}, but {MIXING[key]} is not among "
                            f"{section}.sample_transforms; add '- {MIXING[key]}: {{}}' after Decode, or take "
                            f"{key} out")
    for key, name in used.items():
        if name not in shares:
            _check_user(section, reader, names, key, name, given)
    if len(set(active)) > 1:
        raise UserError(f"{section}: only one of {', '.join(active)} can be set, as each wants another number "
                        "of pictures; set the others to -1 (never)")


def _check_user(section, reader, names, key, name, given):
    if key not in given:
        raise UserError(f"{section}.sample_transforms: {name} would never act: {section}.{key} says in how many epochs "
                        f"it does; write {key}: 10 (0: in all, -1: never)")
    _check_place(section, names, name)
    scheduled = [entry for schedule in reader.get("transform_schedulers") or () for entry in schedule]
    if name in scheduled:
        raise UserError(f"{section}.transform_schedulers: the epochs of {name} are {key}; name them there alone")
    if name in WEIGHED and given[key] >= 0:
        logger.warning("%s: %s weighs its boxes by gt_score, which RT-DETR's loss does not read: all count in full",
                       section, name)


def _check_place(section, names, name):
    if "Decode" in names and names.index("Decode") > names.index(name):
        raise UserError(f"{section}.sample_transforms: {name} needs pictures; put it after Decode")


def _check_shares(section, reader, dataset):
    """``mixing``: the epochs of its transforms are those of transform_schedulers."""
    names = _names(reader)
    for name in reader[mixing.KEY]:
        if name not in names:
            raise UserError(f"{section}.{mixing.KEY} has {name}, but sample_transforms does not; add '- {name}: {{}}' "
                            f"after Decode, or take {name} out")
        _check_place(section, names, name)
    for key in (*MIXING, "pre_img_epoch"):
        if (reader.get(key) if reader.get(key) is not None else -1) >= 0:
            raise UserError(f"{section}: {mixing.KEY} and {key} both say which pictures are mixed; leave {key} out")
    kind = mixing.class_of(dataset)
    if kind is not None and not mixing.can_mix(kind):
        raise UserError(f"{section}.{mixing.KEY}: {kind.__name__} reads its pictures in a way of its own, to which no "
                        f"others can be added; take {mixing.KEY} out")
