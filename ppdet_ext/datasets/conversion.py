# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A data set in another layout: COCO, Pascal VOC or YOLO. What the new layout cannot say is counted and told."""
from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, NamedTuple
from xml.etree import ElementTree

import yaml

from ..data.coco import DECIMALS
from ..data.images import check_headers
from ..errors import UserError, printable
from ..files import linked, temporary_folder
from . import coco_file, layouts, splits
from .picture_set import ALL, Box, Picture, PictureSet
from .tree import shown

CROWDS = "crowds (iscrowd: 1) are left out, as the layout has none"
DIFFICULT = "difficult objects are ordinary ones now, as the layout has none"
CUT = "boxes reach over the border and are cut there"
EMPTY = "boxes have no area within the picture and are left out"


@dataclass
class _Target:
    """What is being written.

    Args:
        folder: empty at first; becomes OUT.
        found: what was read.
        files: {picture as it was: its name in OUT, without folder}; no two of a split have one stem.
        lost: {what could not be kept: how often}.
    """

    folder: Path
    found: PictureSet
    files: dict[Path, str]
    lost: Counter[str] = field(default_factory=Counter)
    copies: bool = False

    def place(self, picture: Picture, folder: str) -> Path:
        """Link or copy a picture into a folder of OUT; its path there."""
        path = self.folder / folder / self.files[picture.path]
        path.parent.mkdir(parents=True, exist_ok=True)
        source = os.path.realpath(picture.path)  # of a link the file itself
        if self.copies or not linked(source, path):
            shutil.copyfile(source, path)
        return path

    def text(self, name: str, content: str) -> None:
        """Write a text file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")

    def single(self, picture: Picture) -> Iterator[Box]:
        """The boxes that are no crowds."""
        for box in picture.boxes:
            if box.crowd:
                self.lost[CROWDS] += 1
            else:
                yield box


def _write_coco(target: _Target) -> None:
    """annotations/SPLIT.json and SPLIT/."""
    for split, pictures in target.found.splits.items():
        placed = [Picture(target.place(one, split), one.boxes, *coco_file.size_of(one)) for one in pictures]
        (target.folder / "annotations").mkdir(exist_ok=True)
        coco_file.write(target.folder / "annotations" / f"{split}.json",
                        coco_file.content(target.found.names, placed, target.folder / split))


def _write_voc(target: _Target) -> None:
    """JPEGImages/, Annotations/, ImageSets/Main/SPLIT.txt, and label_list.txt with the order of the classes."""
    _require_lines(target.found)
    for split, pictures in target.found.splits.items():
        stems = []
        for picture in pictures:
            stems.append(os.path.splitext(target.files[picture.path])[0])
            target.text(f"Annotations/{stems[-1]}.xml", _xml(target, picture))
            target.place(picture, "JPEGImages")
        name = "trainval" if split == ALL else split
        target.text(f"ImageSets/Main/{name}.txt", "".join(f"{stem}\n" for stem in stems))
    target.text("label_list.txt", "".join(f"{name}\n" for name in target.found.names))


def _xml(target, picture):
    width, height = coco_file.size_of(picture)
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = target.files[picture.path]
    size = ElementTree.SubElement(root, "size")
    for tag, value in (("width", width), ("height", height), ("depth", 3)):
        ElementTree.SubElement(size, tag).text = str(value)
    for box in target.single(picture):
        coco_file.require_inside(box, width, height, picture.path)
        item = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(item, "name").text = target.found.names[box.class_id]
        ElementTree.SubElement(item, "difficult").text = str(int(box.difficult))
        corners = ElementTree.SubElement(item, "bndbox")
        for tag, value in (("xmin", box.x1), ("ymin", box.y1), ("xmax", box.x2), ("ymax", box.y2)):
            ElementTree.SubElement(corners, tag).text = f"{round(value, DECIMALS):.15g}"
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _write_yolo(target: _Target) -> None:
    """images/SPLIT/, labels/SPLIT/ and data.yaml."""
    _require_lines(target.found)
    for split, pictures in target.found.splits.items():
        for picture in pictures:
            path = target.place(picture, f"images/{split}")
            target.text(f"labels/{split}/{path.stem}.txt", "".join(_rows(target, picture)))
    used = [*target.found.splits]
    entries = dict.fromkeys(("train", "val"), f"images/{ALL}") if used == [ALL] else {
        split: f"images/{split}" for split in used}
    target.text("data.yaml", yaml.safe_dump({**entries, "names": dict(enumerate(target.found.names))}, sort_keys=False,
                                            allow_unicode=True))


def _rows(target, picture):
    """Class, centre and size as shares, a line for each box."""
    width, height = coco_file.size_of(picture)
    for box in target.single(picture):
        coco_file.require_inside(box, width, height, picture.path)
        x1, x2 = max(box.x1, 0) / width, min(box.x2, width) / width
        y1, y2 = max(box.y1, 0) / height, min(box.y2, height) / height
        if x2 <= x1 or y2 <= y1:
            target.lost[EMPTY] += 1
            continue
        target.lost[CUT] += box.x1 < 0 or box.y1 < 0 or box.x2 > width or box.y2 > height
        target.lost[DIFFICULT] += box.difficult
        yield f"{box.class_id} {(x1 + x2) / 2:.8f} {(y1 + y2) / 2:.8f} {x2 - x1:.8f} {y2 - y1:.8f}\n"


def _require_lines(found):
    """Raise UserError for a class name that would not be one line of a list, and itself in XML."""
    bad = [name for name in found.names if not name.isprintable() or name != name.strip() or not name]
    if bad:
        raise UserError(f"class '{printable(bad[0])}' cannot be written as a line of text; rename it, or write "
                        "--to coco")


class Writer(NamedTuple):
    """A row: writes a data set into an empty folder; the parts of the folder, in words."""

    write: Callable[[_Target], None]
    makes: str


WRITERS = {"coco": Writer(_write_coco, "annotations/*.json and a folder of pictures for each"),
           "voc": Writer(_write_voc, "JPEGImages/, Annotations/, ImageSets/Main/, label_list.txt"),
           "yolo": Writer(_write_yolo, "data.yaml, images/, labels/")}


def convert(source: str | Path, out: str | Path, to: str, copies: bool = False, divided: bool = False) -> list[str]:
    """Write a data set in another layout; lines that say what was read, what was written, and what could not be kept.

    Args:
        source: folder or file, see ``layouts.read``.
        out: a folder that is not there, or is empty. It appears whole, or not at all.
        to: a name of WRITERS.
        copies: copy the pictures; else they are linked (hard links take no room), and copied where that is impossible.
        divided: make train and val of a set that is not divided, as a training does.

    Raises:
        UserError: the data set has a mistake; ``out`` is not empty, lies in the data set, or cannot be written.
    """
    out = Path(out).expanduser().absolute()
    found = layouts.read(source)
    if divided:
        found = splits.completed(found)
    require_free(out, found.root)
    pictures = [picture for of_split in found.splits.values() for picture in of_split]
    check_headers([picture.path for picture in pictures], [coco_file.size_of(picture) for picture in pictures])
    lost = write(found, out, to, copies)
    counts = ", ".join(f"{split} {len(of_split)}" for split, of_split in found.splits.items())
    return [f"read: {found.layout}, in {found.root}: {counts} pictures, "
            f"{sum(len(picture.boxes) for picture in pictures)} boxes, {len(found.names)} classes "
            f"({shown(map(printable, found.names), 12)})", *(f"note: {note}" for note in found.notes),
            *(f"not kept: {count} {what}" for what, count in lost.items() if count),
            f"written: {out} ({WRITERS[to].makes})"]


def write(found: PictureSet, out: Path, to: str, copies: bool = False, texts: Mapping[str, str] | None = None
          ) -> Counter[str]:
    """Write a data set that was read into a folder that is free; {what could not be kept: how often}.

    Args:
        texts: {name: content} of files that go into the folder as well.

    Raises:
        UserError: a box lies outside of its picture; the folder cannot be written.
    """
    pictures = [picture for of_split in found.splits.values() for picture in of_split]
    with temporary_folder(out) as folder:
        target = _Target(folder, found, _file_names(pictures), copies=copies)
        WRITERS[to].write(target)
        for name, content in (texts or {}).items():
            target.text(name, content)
        os.replace(folder, out)
    return target.lost


def require_free(out: Path, root: Path) -> None:
    """Raise UserError where a folder to write is there and not empty, or lies in the data set's ``root``."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"'{out}' is there and not empty; name a folder that is new")
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(root)):
        raise UserError(f"'{out}' lies in the data set '{root}', which would then hold both; name a folder elsewhere")


def _file_names(pictures: Sequence[Picture]) -> dict[Path, str]:
    """{picture: its file's name}; of two that have one stem, the second gets a number."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for picture in pictures:
        if picture.path in names:
            continue
        stem, suffix = os.path.splitext(picture.path.name)
        tries = (stem if number == 1 else f"{stem}_{number}" for number in range(1, len(pictures) + 2))
        free = next(one for one in tries if one.lower() not in taken)
        taken.add(free.lower())
        names[picture.path] = f"{free}{suffix}"
    return names
