# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a swap of backbones did, row by row: as a table for people, as plain data for report.json and report.html."""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..weights.load_report import fold
from . import swap_plan
from .swap_plan import Row

FITTED = (swap_plan.MADE, swap_plan.KEPT)  # what an alignment changes
ORDER = {"backbone": 0, "neck": 1, "transformer": 2}  # as a picture goes through
FIRST_NUMBER = re.compile(r"^.*?\.\d+(?=\.)")


class Group(NamedTuple):
    """Rows alike: the part of the detector, how many tensors, what became of them, why."""

    part: str
    tensors: int
    what: str
    why: str


@dataclass(frozen=True)
class SwapReport:
    """What ``swapping.swap`` did.

    Attributes:
        rows: what became of every tensor.
        source, sha256: the checkpoint that the detector was kept from.
        project: whose names it has, of ``checkpoints.PROJECTS``.
        old_backbone, new_backbone: what they are called; the old one's is '' where nothing says it.
        start: where the new backbone's weights come from.
        backbone_kept: the new backbone is the old one, and keeps what it learnt.
        notes: what a person should know beside the rows, one line each: classes, normalisation, strides.
        classes: names in the new detector's order, where they are known.
        licence: of the checkpoint, where it is known.
        swaps: the swaps before this one, the oldest first, see ``facts.Facts``.
    """

    rows: tuple[Row, ...]
    source: str
    sha256: str
    project: str
    old_backbone: str
    new_backbone: str
    start: str
    backbone_kept: bool
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    licence: str = ""
    swaps: tuple[dict[str, str], ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """``{word of WORDS: tensors}``, those that occur."""
        found = Counter(row.what for row in self.rows)
        return {word: found[word] for word in swap_plan.WORDS if found[word]}

    def names(self, *words: str) -> list[str]:
        """Names of the tensors that these words of WORDS are said of."""
        return [row.name for row in self.rows if row.what in words]

    def aligned(self, names: Collection[str], why: str) -> SwapReport:
        """The report after an alignment: what the new detector has of these names was fitted to the old features."""
        wanted = set(names)
        return replace(self, rows=tuple(
            Row(row.name, swap_plan.ALIGNED, why) if row.name in wanted and row.what in FITTED else row
            for row in self.rows))

    def noted(self, *lines: str) -> SwapReport:
        """The report with more notes."""
        return replace(self, notes=(*self.notes, *lines))

    def groups(self) -> list[Group]:
        """Rows alike put together, in the order of the detector."""
        found: dict[tuple[str, str, str], list[Row]] = {}
        for row in sorted(self.rows, key=lambda row: ORDER.get(row.name.partition(".")[0], len(ORDER))):
            found.setdefault((re.sub(r"\d+", "#", _part(row.name)), row.what, row.why), []).append(row)
        return [Group(_several(rows), len(rows), what, _with_example(why, rows))
                for (_, what, why), rows in found.items()]

    @property
    def all_swaps(self) -> tuple[dict[str, str], ...]:
        """For the stamp of what comes of it: ``swaps`` and this one, where the backbone is another."""
        own = {"file": Path(self.source).name, "sha256": self.sha256, "old_backbone": self.old_backbone,
               "new_backbone": self.new_backbone}
        return self.swaps if self.backbone_kept else (*self.swaps, own)

    @property
    def line(self) -> str:
        """The report in one line."""
        counted = ", ".join(f"{count} {word}" for word, count in self.counts.items())
        return f"the detector of {self.source} with backbone {self.new_backbone} ({counted})"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {"source": self.source, "sha256": self.sha256, "project": self.project, "licence": self.licence,
                "old_backbone": self.old_backbone, "new_backbone": self.new_backbone, "start": self.start,
                "backbone_kept": self.backbone_kept, "counts": self.counts, "notes": list(self.notes),
                "rows": [group._asdict() for group in self.groups()]}

    def __str__(self) -> str:
        rows = [("part", "tensors", "what", "why"), *((one.part, str(one.tensors), one.what, one.why)
                                                      for one in self.groups())]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        table = [f"  {part:<{widths[0]}}  {count:>{widths[1]}}  {what:<{widths[2]}}  {why}"
                 for part, count, what, why in rows]
        kept = "kept" if self.backbone_kept else f"starts from {self.start}"
        return "\n".join([f"swap: the detector of {self.source}, backbone {self.old_backbone or 'unknown'} -> "
                          f"{self.new_backbone} ({kept})", *table,
                          *(f"  {word}: {count} ({swap_plan.MEANINGS[word]})" for word, count in self.counts.items()),
                          *(f"  {note}" for note in self.notes)])


def _part(name):
    """The part that a tensor is listed under: up to the first number of its name, or the first two words."""
    if name.startswith(swap_plan.BACKBONE):
        return name.partition(".")[0]
    found = FIRST_NUMBER.match(name)
    return found[0] if found else ".".join(name.split(".")[:2])


def _with_example(why, rows):
    return next((f"{why}: {row.detail}" for row in rows if row.detail), why)


def _several(rows):
    return fold(dict.fromkeys(_part(row.name) for row in rows))[0].partition(" (")[0]
