# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a checkpoint belongs to, and carries with it: classes, normalisation, size, training data, settings of its run.

It is part of a .pdparams' stamp. Of converted weights the .yml beside them knows classes and normalisation.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import printable

NO_NAME = re.compile(r"LABEL_\d+")  # a class whose name nobody knew
SHOWN = 5  # names in a message
LARGEST = 2 ** 53  # of a number; what is none, is not below
SWAP = ("file", "sha256", "old_backbone", "new_backbone")
LONGEST = 2000  # characters of a setting


@dataclass(frozen=True)
class Facts:
    """Each is empty where it is not known.

    Attributes:
        classes: names in the detector's order.
        category_ids: of each class, its id in the training's annotations.
        mean, std: of the training's pixels, in 0..1.
        size: [height, width] that pictures were evaluated at.
        steps_per_epoch: the optimizer's.
        data: the training's annotations: file name and digest.
        settings: what of the config decides how training goes on, as text by its name.
        resumed: names of the runs that this one went on with, the first one first.
        backbone: what the backbone is called.
        swaps: where the backbone was exchanged, the oldest first: the checkpoint's file, its sha256, the names of the
            two backbones.
    """

    classes: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: tuple[int, ...] = ()
    steps_per_epoch: int = 0
    data: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    resumed: tuple[str, ...] = ()
    backbone: str = ""
    swaps: tuple[dict[str, str], ...] = ()

    @classmethod
    def of(cls, values: Any) -> Facts:
        """What is as it should be in values out of a file; the rest counts as not known."""
        given = values if isinstance(values, dict) else {}
        found = {one.name: _READ[one.name](given.get(one.name)) for one in fields(cls)}
        if len(found["category_ids"]) != len(found["classes"]):
            found["category_ids"] = ()
        if not len(found["mean"]) == len(found["std"]) == 3 or min(found["std"]) <= 0:
            found["mean"] = found["std"] = ()
        return cls(**found)

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))


def _swaps(value):
    entries = value if isinstance(value, (list, tuple)) else ()
    return tuple({key: printable(str(one.get(key, ""))) for key in SWAP} for one in entries if isinstance(one, dict))


def backbone_name(backbone: Any) -> str:
    """What a built backbone is called: a network's name with its tag, or the class with its depth."""
    name = getattr(backbone, "full_arch", "" if backbone is None else None)
    if name is not None:
        return str(name)
    depth = getattr(backbone, "depth", None)
    return type(backbone).__name__ + (f"-{depth}" if isinstance(depth, int) else "")


def _texts(value):
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else ()


def _numbers(kinds):
    def read(value):
        good = isinstance(value, (list, tuple)) and all(type(one) in kinds and abs(one) < LARGEST for one in value)
        return tuple(value) if good else ()
    return read


_READ = {
    "classes": _texts, "category_ids": _numbers((int,)), "mean": _numbers((int, float)), "std": _numbers((int, float)),
    "resumed": _texts, "size": _numbers((int,)),
    "steps_per_epoch": lambda value: value if type(value) is int and value > 0 else 0,
    "data": lambda value: printable(value) if isinstance(value, str) else "",
    "backbone": lambda value: printable(value) if isinstance(value, str) else "", "swaps": _swaps,
    "settings": lambda value: {printable(key): printable(text, LONGEST) for key, text in value.items()}
    if isinstance(value, dict) else {},
}


@dataclass(frozen=True)
class Difference:
    """How the classes of a data set or a file differ from a checkpoint's.

    ``moved``: a name stands at another number in it, so that boxes get wrong names. Otherwise only spellings differ.
    """

    text: str
    moved: bool


def differ(theirs: Sequence[str], ours: Sequence[str]) -> Difference | None:
    """Compare a checkpoint's class names with those that are given; None for none, or where either is not known."""
    if not theirs or not ours or all(map(NO_NAME.fullmatch, theirs)) or list(theirs) == list(ours):
        return None
    numbers = {name: number for number, name in enumerate(theirs)}
    moved = [name for number, name in enumerate(ours) if numbers.get(name, number) != number]
    if moved:
        name = moved[0]
        return Difference(f"'{printable(name)}' is class {list(ours).index(name)}, but class {numbers[name]} of the "
                          f"checkpoint (its classes: {shown(theirs)})", True)
    return Difference(f"the classes are called {shown(ours)}, but {shown(theirs)} in the checkpoint", False)


def shown(names: Sequence[str]) -> str:
    """The first of some names, for a message."""
    return ", ".join(printable(name) for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
