# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A corrected copy of a data set that was checked, in its own layout: whole or not at all, and never in place.

Pictures are copied byte for byte, with their EXIF; only annotations differ. ``fixes.csv`` in it has a row for each
change.
"""
from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

from ..errors import UserError, printable
from . import conversion
from .check_kinds import KINDS, Words
from .check_subject import Subject

CHANGES = "fixes.csv"
HEAD = ("kind", "split", "file", "where", "what was done")


def rows(subject: Subject) -> list[tuple[str, int, Words, Words]]:
    """What a copy changes: (kind, how many, what was wrong, what is done) for each kind, in the table's order."""
    counts = Counter(change.kind for change in subject.changes)
    return [(kind, counts[kind], KINDS[kind].title, KINDS[kind].mended) for kind in KINDS if counts[kind]]


def write(subject: Subject, out: Path) -> None:
    """Write the copy and fixes.csv into a folder that is free (``conversion.require_free``).

    Raises:
        UserError: no picture is left; a picture went while it was copied; the folder cannot be written.
    """
    mended = subject.mended()
    if not any(mended.splits.values()):
        raise UserError("--fix: no picture is left to copy")
    conversion.write(mended, out, layout_of(subject), copies=True, texts={CHANGES: _as_csv(subject)})


def layout_of(subject: Subject) -> str:
    """The layout of the copy, a name of ``conversion.WRITERS``: that of the data set, else COCO's."""
    name = subject.data.layout.split()[0].lower()  # of 'VOC lists' VOC
    return name if name in conversion.WRITERS else "coco"


def _as_csv(subject):
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEAD)
    for change in subject.changes:
        where = printable(change.where, 500)
        writer.writerow((change.kind, change.split, change.file, where, KINDS[change.kind].mended[0]))
    return file.getvalue()
