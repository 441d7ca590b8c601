# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The one form that every layout is read into: pictures with boxes, by split."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError

#: the name of the only split of a set that is not divided
ALL = "all"


@dataclass(frozen=True)
class Box:
    """An object.

    Args:
        class_id: place of its class in ``PictureSet.names``.
        x1, y1, x2, y2: corners in pixels of the upright picture, as written: they may lie outside of it.
        crowd: stands for several objects (COCO's iscrowd).
        difficult: VOC's flag: learnt from, neither hit nor miss in an evaluation.
        where: its place in the annotation file, for messages.
    """

    class_id: int
    x1: float
    y1: float
    x2: float
    y2: float
    crowd: bool = False
    difficult: bool = False
    where: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture and its boxes; none for a background.

    Args:
        width, height: pixels, as the annotations say; of layouts that need them and do not say them (YOLO) as the
            upright picture's header says; None where neither is known.
    """

    path: Path
    boxes: tuple[Box, ...]
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Problem:
    """What is wrong with an annotation.

    Args:
        kind: one of :data:`KINDS`.
        where: file and place.
        message: what is wrong.
    """

    kind: str
    where: str
    message: str


#: kind of a Problem -> what it is about
KINDS = {"file": "an annotation file cannot be read", "missing": "a picture or its annotation file is not there",
         "stray": "a path leads out of the data set's folder", "picture": "a picture cannot be read",
         "class": "a class is unknown, or is there twice", "id": "an id is missing, there twice, or leads nowhere",
         "box": "a box is not made of four numbers in the layout's unit",
         "value": "another value is missing or of the wrong kind"}


@dataclass(frozen=True)
class ReadAsIs:
    """An annotation file that ppdet reads as it is; paths are relative to the set's root.

    Args:
        metric: 'COCO' or 'VOC'.
    """

    metric: str
    anno_path: str
    image_dir: str


@dataclass
class PictureSet:
    """A data set.

    Args:
        root: the folder that holds all its files.
        layout: a name of ``layouts.LAYOUTS``.
        names: class names, in the order of class ids.
        splits: {'train', 'val', 'test' or ALL: pictures}.
        splits_from: in words, where the splits were found; '' where the set is not divided.
        notes: sentences on what was left out, or understood in a way that may surprise.
        as_is: {split: its file} where ppdet can read the layout itself, without a copy of the annotations.
    """

    root: Path
    layout: str
    names: tuple[str, ...]
    splits: dict[str, list[Picture]]
    splits_from: str = ""
    notes: list[str] = field(default_factory=list)
    as_is: dict[str, ReadAsIs] = field(default_factory=dict)


class Complaints:
    """Where a reader says what is wrong: strict without a list, else it is noted and the reader goes on."""

    def __init__(self, problems: list[Problem] | None = None) -> None:
        self.problems = problems

    def add(self, kind: str, where: str, message: str) -> None:
        """Note a problem of :data:`KINDS`.

        Raises:
            UserError: there is no list to note it in.
        """
        if self.problems is None:
            raise UserError(f"{where}: {message}")
        self.problems.append(Problem(kind, where, message))

    @contextlib.contextmanager
    def noting(self, kind: str) -> Iterator[None]:
        """Around what raises UserError by itself: with a list the error is noted, and what follows goes on."""
        try:
            yield
        except UserError as error:
            if self.problems is None:
                raise
            self.problems.append(Problem(kind, "", str(error)))
