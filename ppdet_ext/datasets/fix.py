# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A corrected copy of a data set that was checked, in COCO's layout: whole or not at all, and never in place.

Pictures are copied byte for byte, with their EXIF; only annotations differ. ``fixes.csv`` in it has a row for each
change.
"""
from __future__ import annotations

import csv
import dataclasses
import os
import shutil
from collections import Counter
from pathlib import Path

from ..errors import UserError, printable
from ..files import temporary_folder
from . import coco_file
from .check_kinds import KINDS, Words
from .check_subject import Subject
from .picture_set import Picture

CHANGES = "fixes.csv"
HEAD = ("kind", "split", "file", "where", "what was done")


def rows(subject: Subject) -> list[tuple[str, int, Words, Words]]:
    """What a copy changes: (kind, how many, what was wrong, what is done) for each kind, in the table's order."""
    counts = Counter(change.kind for change in subject.changes)
    return [(kind, counts[kind], KINDS[kind].title, KINDS[kind].mended) for kind in KINDS if counts[kind]]


def require_new(out: str | Path, root: Path) -> Path:
    """The folder to write, where it is one.

    Raises:
        UserError: something is there, or it lies within the data set or the other way round.
    """
    target = Path(os.path.abspath(Path(out).expanduser()))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"--fix '{out}': something is there; name a folder that is new or empty, as a copy is written "
                        "whole or not at all")
    real, source = target.resolve(), root.resolve()
    if real == source or source in real.parents or real in source.parents:
        raise UserError(f"--fix '{out}': it lies within the data set's folder, or around it; name one beside it: the "
                        "data set stays as it is")
    return target


def write(subject: Subject, target: Path) -> None:
    """Write the copy: images/, annotations/SPLIT.json and fixes.csv.

    Args:
        target: see :func:`require_new`.

    Raises:
        UserError: no picture is left; a picture changed or went while it was copied; the disk is full.
    """
    mended = subject.mended()
    if not any(mended.splits.values()):
        raise UserError("--fix: no picture is left to copy")
    with temporary_folder(target) as folder:
        for split, pictures in mended.splits.items():
            copied = [_copied(picture, mended.root, folder) for picture in pictures]
            coco_file.write(folder / "annotations" / f"{split}.json", coco_file.content(mended.names, copied, folder))
        _write_changes(subject, folder / CHANGES)
        if target.is_dir():
            target.rmdir()
        os.rename(folder, target)


def _copied(picture: Picture, root: Path, folder: Path) -> Picture:
    place = folder / "images" / Path(os.path.abspath(picture.path)).relative_to(root)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(picture.path, place)
    except FileNotFoundError:
        raise UserError(f"--fix: '{picture.path}' went while it was copied; nothing was written") from None
    return dataclasses.replace(picture, path=place)


def _write_changes(subject, path):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        for change in subject.changes:
            where = printable(change.where, 500)
            writer.writerow((change.kind, change.split, change.file, where, KINDS[change.kind].mended[0]))
