# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A data set while it is checked: arrays of pictures and boxes, what was found, and what was mended in them.

Each check mends what it can in these arrays, so the next one sees a set without that fault, and counts nothing twice.
The files stay as they are; ``--fix`` writes what the arrays hold at the end.
"""
from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import printable
from .check_kinds import KINDS, QUERIES, SERIOUS, SEVERITIES, Words
from .picture_facts import Facts
from .picture_set import Box, Picture, PictureSet, Problem

#: examples of a kind that are shown, and boxes of one
EXAMPLES, EXAMPLE_BOXES = 6, 40
#: what is trained on comes first
ORDER = ("train", "trainval", "all", "val", "test")


class Example(NamedTuple):
    """A picture to look at.

    Args:
        boxes: (x1, y1, x2, y2, class name, whether the finding is about it), in pixels.
    """

    path: Path
    note: Words
    boxes: tuple[tuple[float, float, float, float, str, bool], ...] = ()


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        kind: a key of ``check_kinds.KINDS``.
        count, of: how many, of how many that there are; ``of`` 0: of no known number.
        text: more on it, a sentence.
        places: of the first ones, in words.
    """

    kind: str
    severity: str
    count: int
    of: int
    text: Words
    places: tuple[str, ...]
    examples: tuple[Example, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, in English."""
        kind = KINDS[self.kind]
        return {"kind": self.kind, "severity": self.severity, "what": kind.title[0], "count": self.count, "of": self.of,
                "text": self.text[0], "advice": kind.advice[0], "fix": kind.mended[0] or None,
                "places": list(self.places)}


class Change(NamedTuple):
    """What ``--fix`` does to one picture or box: why, and where it was."""

    kind: str
    split: str
    file: str
    where: str


class Subject:
    """The arrays; n pictures, N boxes.

    Attributes:
        data: as read. ``problems``: what the reader told. ``facts``: of each picture's file.
        queries: of the detector.
        splits: names, the training set first; ``split`` [n]: the place of each picture's.
        paths: of the pictures. ``said``, ``real`` [n, 2]: (width, height) by the annotations, by the upright picture;
            nan where unknown. ``orientation`` [n]: EXIF's.
        corners [N, 4], owner [N] (the picture), label [N], crowd [N], boxes [N]: as they were read.
        there [n], valid [N]: what is still part of the set.
    """

    def __init__(self, data: PictureSet, facts: Mapping[Path, Facts], problems: Sequence[Problem] = (),
                 queries: int = QUERIES) -> None:
        self.data, self.problems, self.queries = data, problems, queries
        self.splits = sorted(data.splits, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
        entries = [(place, picture) for place, name in enumerate(self.splits) for picture in data.splits[name]]
        self.split = np.array([place for place, _ in entries], int)
        self.paths = [Path(picture.path) for _, picture in entries]
        self.facts = [facts[path] for path in self.paths]
        self.said = np.array([(picture.width or math.nan, picture.height or math.nan) for _, picture in entries],
                             float).reshape(-1, 2)
        self.real = np.array([(fact.width or math.nan, fact.height or math.nan) for fact in self.facts],
                             float).reshape(-1, 2)
        self.orientation = np.array([fact.orientation for fact in self.facts], int)
        pairs = [(owner, box) for owner, (_, picture) in enumerate(entries) for box in picture.boxes]
        self.boxes = [box for _, box in pairs]
        self.owner = np.array([owner for owner, _ in pairs], int)
        self.corners = np.array([(box.x1, box.y1, box.x2, box.y2) for box in self.boxes], float).reshape(-1, 4)
        self.label = np.array([box.class_id for box in self.boxes], int)
        self.crowd = np.array([box.crowd for box in self.boxes], bool)
        self.there, self.valid = np.ones(len(entries), bool), np.ones(len(pairs), bool)
        self.findings: list[Finding] = []
        self.changes: list[Change] = []

    @property
    def sizes(self) -> np.ndarray:
        """[n, 2]: the real size, else the annotated one, else nan."""
        return np.where(np.isnan(self.real), self.said, self.real)

    @property
    def box_sizes(self) -> np.ndarray:
        """[N, 2]: that of each box's picture."""
        return self.sizes[self.owner]

    @property
    def objects(self) -> np.ndarray:
        """bool [N]: boxes that count, crowds left out."""
        return self.valid & ~self.crowd

    def per_picture(self, boxes: np.ndarray) -> np.ndarray:
        """[n]: how many of the boxes (bool [N]) each picture has."""
        return np.bincount(self.owner[boxes], minlength=len(self.paths))

    def file(self, picture: int) -> str:
        """A picture's name in messages: its path below the set's folder."""
        path = self.paths[picture]
        try:
            return printable(path.relative_to(self.data.root).as_posix())
        except ValueError:
            return printable(path)

    # ---- what is found

    def about_boxes(self, kind: str, mask: np.ndarray, text: Words = ("", ""), of: int | None = None) -> None:
        """Note a finding about some boxes (bool [N]), with examples; none: nothing."""
        numbers = np.flatnonzero(mask)
        if not len(numbers):
            return
        pictures = list(dict.fromkeys(self.owner[numbers].tolist()))
        examples = tuple(self._example(picture, mask) for picture in _spread(pictures))
        places = [f"{self.file(self.owner[number])} ({self.boxes[number].where})"
                  for number in numbers[:EXAMPLES].tolist()]
        self.note(kind, len(numbers), int(self.valid.sum()) if of is None else of, text, places, examples)

    def about_pictures(self, kind: str, mask: np.ndarray, text: Words = ("", ""), severity: str | None = None,
                       examples: Sequence[Example] | None = None, of: int | None = None) -> None:
        """Note a finding about some pictures (bool [n]); ``examples`` in place of some of these pictures."""
        numbers = np.flatnonzero(mask).tolist()
        if numbers:
            shown = [self._example(number) for number in _spread(numbers)] if examples is None else examples
            places = [self.file(number) for number in numbers[:EXAMPLES]]
            self.note(kind, len(numbers), len(self.paths) if of is None else of, text, places, shown, severity)

    def note(self, kind: str, count: int, of: int = 0, text: Words = ("", ""), places: Sequence[str] = (),
             examples: Sequence[Example] = (), severity: str | None = None) -> None:
        """Note a finding."""
        # of long paths the end is worth more: they are told from the set's folder on
        short = (printable(place.replace(f"{self.data.root}/", ""), 300) for place in places)
        self.findings.append(Finding(kind, severity or KINDS[kind].severity, count, of, text, tuple(short),
                                     tuple(examples)))

    def _example(self, picture: int, flagged: np.ndarray | None = None, note: Words | None = None) -> Example:
        own = np.flatnonzero((self.owner == picture) & self.valid).tolist()
        marked = [flagged is not None and bool(flagged[number]) for number in own]
        # those in question are among the first, so that they are drawn
        rows = sorted(zip(marked, own), key=lambda row: not row[0])[:EXAMPLE_BOXES]
        boxes = tuple((float(x1), float(y1), float(x2), float(y2), self.class_name(number), mark)
                      for mark, number in rows for x1, y1, x2, y2 in [self.corners[number]])
        name = self.file(picture)
        return Example(self.paths[picture], note or (name, ""), boxes)

    def pair(self, first: int, second: int) -> list[Example]:
        """Two pictures to be shown beside each other."""
        examples = []
        for one, other in ((first, second), (second, first)):
            names = [f"{self.splits[self.split[number]]}: {self.file(number)}" for number in (one, other)]
            examples.append(self._example(one, note=(f"{names[0]} (like {names[1]})", f"{names[0]} (同 {names[1]})")))
        return examples

    def class_name(self, box: int) -> str:
        """The name of a box's class."""
        return printable(self.data.names[self.label[box]], 40)

    # ---- what is mended

    def drop_boxes(self, kind: str, mask: np.ndarray) -> None:
        """Boxes (bool [N]) are part of the set no longer."""
        self._changed(kind, np.flatnonzero(mask & self.valid), boxes=True)
        self.valid &= ~mask

    def drop_pictures(self, kind: str, mask: np.ndarray) -> None:
        """Pictures (bool [n]) and their boxes are part of the set no longer."""
        self._changed(kind, np.flatnonzero(mask & self.there), boxes=False)
        self.there &= ~mask
        self.valid &= ~mask[self.owner]

    def move(self, kind: str, pictures: Sequence[int], split: int) -> None:
        """Pictures go to another split."""
        self._changed(kind, pictures, boxes=False)
        self.split[list(pictures)] = split

    def set_corners(self, kind: str | None, mask: np.ndarray, corners: np.ndarray) -> None:
        """Boxes (bool [N]) get the corners of an array [N, 4]; without a kind it is told of their pictures."""
        if kind is not None:
            self._changed(kind, np.flatnonzero(mask), boxes=True)
        self.corners = np.where(mask[:, None], corners, self.corners)

    def set_sizes(self, kind: str, mask: np.ndarray) -> None:
        """Pictures (bool [n]) get their real size; it is a change of the annotations alone."""
        self._changed(kind, np.flatnonzero(mask), boxes=False)
        self.said = np.where(mask[:, None], self.real, self.said)

    def note_left_out(self, kind: str, where: str) -> None:
        """Something that the reader could not understand is not part of the set."""
        self.changes.append(Change(kind, "", "", printable(where, 300)))

    def _changed(self, kind, numbers, boxes):
        for number in (int(one) for one in numbers):
            picture = int(self.owner[number]) if boxes else number
            self.changes.append(Change(kind, self.splits[self.split[picture]], self.file(picture),
                                       self.boxes[number].where if boxes else ""))

    # ---- what it comes to

    @property
    def passed(self) -> bool:
        """Whether nothing serious was found."""
        return all(finding.severity != SERIOUS for finding in self.findings)

    def verdict(self) -> str:
        """One line: whether it can be trained on as it is."""
        counts = Counter(finding.severity for finding in self.findings)
        said = ", ".join(f"{counts[name]} {name}{'s' if name != SERIOUS and counts[name] > 1 else ''}"
                         for name in SEVERITIES if counts[name])
        first = next((KINDS[finding.kind].title[0] for finding in self.findings if finding.severity == SERIOUS), "")
        return f"FAILED: {said}; {first}" if first else f"OK: {said or 'nothing to say'}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, in English."""
        return {"root": str(self.data.root), "layout": self.data.layout, "passed": self.passed,
                "verdict": self.verdict(), "pictures": {name: len(self.data.splits[name]) for name in self.splits},
                "classes": list(self.data.names), "notes": list(self.data.notes), "num_queries": self.queries,
                "findings": [finding.as_dict() for finding in self.findings]}

    def mended(self) -> PictureSet:
        """The set as the arrays have it now."""
        own: dict[int, list[Box]] = {}
        for number in np.flatnonzero(self.valid).tolist():
            x1, y1, x2, y2 = map(float, self.corners[number])
            own.setdefault(int(self.owner[number]), []).append(
                dataclasses.replace(self.boxes[number], x1=x1, y1=y1, x2=x2, y2=y2))
        splits: dict[str, list[Picture]] = {name: [] for name in self.data.splits}
        for number in np.flatnonzero(self.there).tolist():
            width, height = (None if math.isnan(side) else int(side) for side in self.sizes[number])
            splits[self.splits[self.split[number]]].append(
                Picture(self.paths[number], tuple(own.get(number, ())), width, height))
        return PictureSet(self.data.root, self.data.layout, self.data.names, splits, self.data.splits_from)


def _spread(numbers: Sequence[int]) -> list[int]:
    """Up to EXAMPLES of them, from all over the list."""
    places = np.linspace(0, len(numbers) - 1, min(EXAMPLES, len(numbers))).round().astype(int)
    return [numbers[place] for place in places]
