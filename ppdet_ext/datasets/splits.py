# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Which pictures are learnt from and which are evaluated on: as names say, else made from the pictures' contents."""
from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import UserError, printable
from ..files import sha256
from .picture_set import ALL, Picture, PictureSet
from .tree import split_of, split_of_path

VAL_SHARE = 0.2  # of a set that is not divided
SEED = 0
Found = TypeVar("Found")


def by_file(files: Iterable[str], root: Path) -> dict[str, str]:
    """{split: its annotation file}. The name of a file counts before that of its folder.

    Raises:
        UserError: several files could each be one split.
    """
    kinds: dict[str, list[str]] = {}
    for path in files:
        kinds.setdefault(split_of(_stem(path)) or split_of_path(path) or ALL, []).append(path)
    if set(kinds) != {ALL}:
        kinds.pop(ALL, None)
    for split, paths in kinds.items():
        exact = [path for path in paths if _stem(path).lower() == split] or paths
        if len(exact) > 1:
            what = f"be the {split} set" if split != ALL else "be the data set"
            raise UserError(f"data set '{root}': {', '.join(printable(path) for path in exact)} could each {what}; "
                            "leave one, or name the one file instead of the folder")
        kinds[split] = exact
    return chosen({split: paths[0] for split, paths in kinds.items()})


def _stem(path):
    return os.path.splitext(path.rpartition("/")[2])[0]


def chosen(found: dict[str, Found]) -> dict[str, Found]:
    """Pascal VOC's names as train, val and test, so that no picture is in two of them."""
    found = dict(found)
    whole = found.pop("trainval", None)
    if whole is None:
        return found
    if "test" in found:
        return {"train": whole, "val": found["test"]}
    return found if {"train", "val"} <= set(found) else {ALL: whole}


def completed(found: PictureSet) -> PictureSet:
    """The set with 'train' and 'val': a test set stands in for a missing val set; else one is made, and a note says so.

    Raises:
        UserError: there is nothing to learn from, or too little to divide.
    """
    whole = {split: pictures for split, pictures in found.splits.items() if pictures}
    train = whole.get("train") or whole.get(ALL)
    if train is None:
        raise UserError(f"data set '{found.root}': {'only ' + ', '.join(whole) if whole else 'no picture'} is there; "
                        "to train, it needs pictures to learn from (train)")
    if "val" in whole:
        return found
    if "test" in whole:
        found.notes.append("there is no val set: the test set is evaluated on")
        return renamed(found, {ALL: "train", "train": "train", "test": "val"})
    learnt, evaluated = divide(train, found.root)
    return dataclasses.replace(found, splits={"train": learnt, "val": evaluated}, as_is={}, splits_from=(
        f"made: {VAL_SHARE:.0%} of each class for val, by the pictures' contents, so always the same"))


def renamed(found: PictureSet, names: dict[str, str]) -> PictureSet:
    """The set with its splits called otherwise: {old name: new name}; others stay."""
    return dataclasses.replace(found, splits={names.get(split, split): found.splits[split] for split in found.splits},
                               as_is={names.get(split, split): found.as_is[split] for split in found.as_is})


def divide(pictures: Sequence[Picture], root: Path) -> tuple[list[Picture], list[Picture]]:
    """(train, val): VAL_SHARE of the pictures of each class, chosen by sha256 of their bytes and SEED.

    A picture counts for the rarest of its classes; one without boxes for none. Equal files stay together. Names,
    places and order of files do not matter.

    Raises:
        UserError: there are fewer than two different pictures.
    """
    digests = [sha256(picture.path) for picture in pictures]
    of_class = Counter(number for picture in pictures for number in {box.class_id for box in picture.boxes})
    groups: dict[str, list[Picture]] = {}
    for digest, picture in zip(digests, pictures):
        groups.setdefault(hashlib.sha256(f"{SEED} {digest}".encode()).hexdigest(), []).append(picture)
    if len(groups) < 2:
        raise UserError(f"data set '{root}': {len(groups)} different picture is too little to divide into train and "
                        "val")
    strata: dict[int, list[str]] = {}
    for key in sorted(groups):
        classes = {box.class_id for picture in groups[key] for box in picture.boxes}
        rarest = min(classes, key=lambda number: (of_class[number], number), default=-1)
        strata.setdefault(rarest, []).append(key)
    evaluated = {key for keys in strata.values() for key in keys[:_share(len(keys))]}
    # of single pictures the one with the least hash is enough
    evaluated = evaluated or {min(groups)}
    sides: tuple[list[Picture], list[Picture]] = ([], [])
    place = {id(picture): key in evaluated for key, same in groups.items() for picture in same}
    for picture in pictures:
        sides[place[id(picture)]].append(picture)
    return sides


def _share(count):
    """Pictures of a class for val: its share, but one of two or more."""
    return max(round(VAL_SHARE * count), int(count >= 2))
