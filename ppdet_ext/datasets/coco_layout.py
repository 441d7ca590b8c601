# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""COCO's layout in any usual naming: annotations/*.json, Roboflow's and Label Studio's folders, one .json file."""
from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data import coco
from ..errors import UserError, printable
from ..limits import limit, refuse
from . import splits
from .picture_set import ALL, Box, Complaints, Picture, PictureSet, ReadAsIs
from .tree import ANNOTATION_FOLDERS, Tree, shown

OTHER_TASKS = ("captions", "person_keypoints", "image_info", "panoptic", "stuff")
LOOKED_AT = 20  # pictures of a file, to find their folder
KEYS = (b'"images"', b'"annotations"')  # what makes a JSON file one of COCO's
#: what ppdet needs of an image and of an annotation, beside what is looked at in any case
PPDET_NEEDS = {"images": ("width", "height"), "annotations": ("id", "area", "iscrowd")}


@dataclass
class _Classes:
    """Classes of all files of a set, numbered in the order in which they come."""

    numbers: dict[str, int] = field(default_factory=dict)
    same: bool = True  # every file lists these, in this order

    def take(self, path: Path, content: dict[str, Any], tell: Complaints) -> dict[Any, int]:
        """{category id: class id} of a file; classes that are new are added."""
        pairs = _categories(path, content, tell)
        names = list(pairs.values())
        self.same &= not self.numbers or names == list(self.numbers)
        for name in names:
            self.numbers.setdefault(name, len(self.numbers))
        return {number: self.numbers[name] for number, name in pairs.items()}


def recognise(tree: Tree) -> str | None:
    """The files that make it COCO's, in words; None where there are none."""
    files = files_of(tree)
    return shown(files, 3) if files else None


def files_of(tree: Tree) -> list[str]:
    """The JSON files with pictures and boxes, at most two folders below the root."""
    found = [path for path in tree.of(".json") if path.count("/") <= 2 and
             not path.rpartition("/")[2].startswith(OTHER_TASKS)]
    return [path for path in found if _has_keys(tree.path(path))]


def _has_keys(path):
    """Whether a file names COCO's lists; its bytes are searched, and not parsed."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(key) >= 0 for key in KEYS)


def read(tree: Tree, tell: Complaints, only: str | None = None) -> PictureSet:
    """Read a folder, or one file of it.

    Args:
        only: the one annotation file to read; relative to the tree's root.
    Raises:
        UserError: a file is no COCO file, or several could be one split; with strict ``tell`` any mistake in it.
    """
    files = {ALL: only} if only else splits.by_file(files_of(tree), tree.root)
    found = PictureSet(tree.root, "COCO", (), {}, "" if ALL in files else shown(files.values()))
    classes = _Classes()
    contents = {split: _load(tree.path(path)) for split, path in files.items()}
    _drop_group(contents.values(), found.notes)
    for split, path in files.items():
        found.splits[split], as_is = _File(tree, path, contents[split], tell).read(classes)
        if as_is is not None:
            found.as_is[split] = as_is
    ignored = sum(isinstance(record, dict) and bool(record.get("ignore")) for content in contents.values()
                  for record in content["annotations"])
    if ignored:
        found.notes.append(f"{ignored} boxes have ignore: 1, which counts only where the file itself is read "
                           "(iscrowd: 1 counts always)")
    found.names = tuple(classes.numbers)
    if not classes.same:
        found.as_is.clear()
        found.notes.append("the files list different classes, or in another order; they are matched by name")
    return found


def root_of(path: Path) -> Path:
    """The folder of the data set that one annotation file belongs to."""
    return path.parent.parent if path.parent.name.lower() in ANNOTATION_FOLDERS else path.parent


def _load(path):
    most = limit("ANNOTATION_BYTES")
    if os.path.isfile(path) and os.path.getsize(path) > most:
        refuse("ANNOTATION_BYTES", f"data set: '{path}' has more than {most} bytes")
    content = coco.load(path, "data set")
    for section in ("images", "annotations", "categories"):
        if not isinstance(content.get(section), list):
            raise UserError(f"data set: '{path}' is not in COCO format: it has no list '{section}'")
    return content


def _drop_group(contents, notes):
    """Take out the group of classes that Roboflow lists as a class: all others name it, and no box has it."""
    contents = list(contents)
    groups = set()
    for content in contents:
        records = [record for record in content["categories"] if isinstance(record, dict)
                   and _hashable(record.get("id")) and isinstance(record.get("name"), str)]
        used = {record.get("category_id") for record in content["annotations"] if isinstance(record, dict)
                and isinstance(record.get("category_id"), (int, str))}
        groups.add(next((record.get("name") for record in records if len(records) > 1 and record.get("id") not in used
                         and all(other.get("supercategory") == record.get("name") for other in records
                                 if other is not record)), None))
    if len(groups) != 1 or groups == {None}:
        return
    group, = groups
    for content in contents:
        content["categories"] = [record for record in content["categories"] if not isinstance(record, dict)
                                 or record.get("name") != group]
        content["dropped"] = True  # the file is not what ppdet should read
    notes.append(f"class '{printable(group)}' is the group of all others and has no box: left out")


def _categories(path, content, tell):
    pairs, names = {}, set()
    for place, record in enumerate(content["categories"]):
        where = f"'{path}': categories[{place}]"
        if not isinstance(record, dict) or not _hashable(record.get("id")) or not isinstance(record.get("name"), str):
            tell.add("class", where, "it is no object with an id and a name")
        elif record["id"] in pairs:
            tell.add("id", where, f"category id {record['id']} is there twice")
        elif record["name"] in names:
            tell.add("class", where, f"two categories are called '{printable(record['name'])}'; give them different "
                     "names, or make them one")
        else:
            pairs[record["id"]] = record["name"]
            names.add(record["name"])
    if not pairs:
        raise UserError(f"'{path}' has no categories; a detector needs at least one")
    return pairs


def _hashable(value):
    return isinstance(value, (int, str)) and not isinstance(value, bool)


class _File:
    """One annotation file while it is read."""

    def __init__(self, tree: Tree, path: str, content: dict[str, Any], tell: Complaints) -> None:
        self.tree, self.relative, self.path = tree, path, tree.path(path)
        self.content, self.tell = content, tell
        self.plain = not content.pop("dropped", False)  # whether ppdet can read the file as it is

    def read(self, classes: _Classes) -> tuple[list[Picture], ReadAsIs | None]:
        """(the pictures, the file as ppdet reads it or None)."""
        numbers = classes.take(self.path, self.content, self.tell)
        boxes = self._boxes(numbers)
        folder = image_folder(self.tree, self.relative, [record.get("file_name") for record in self.content["images"]
                                                         if isinstance(record, dict)])
        pictures = []
        seen = set()
        for place, record in enumerate(self.content["images"]):
            where = f"'{self.path}': images[{place}]"
            if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
                self.tell.add("value", where, "it is no object with a file_name")
                continue
            if not _hashable(record.get("id")) or record["id"] in seen:
                self.tell.add("id", where, f"image id {printable(record.get('id'))} is missing, or there twice")
                continue
            seen.add(record["id"])
            found = self._file(folder, record["file_name"], where)
            own = boxes.pop(record["id"], ())
            if found is not None:
                pictures.append(Picture(self.tree.path(found), tuple(own), *self._size(record)))
        for number, left in boxes.items():
            self.tell.add("id", left[0].where, f"it belongs to image id {printable(number)}, which is not among the "
                          "images")
        return pictures, ReadAsIs("COCO", self.relative, folder or "") if self.plain else None

    def _file(self, folder, name, where):
        inside = self.tree.inside(folder, name) if folder is not None else None
        if folder is not None and inside is None:
            self.tell.add("stray", where, f"'{printable(name)}' lies outside the data set's folder '{self.tree.root}'")
            return None
        if inside is not None and (inside in self.tree.names or os.path.isfile(self.tree.path(inside))):
            self.plain &= "\\" not in name
            return inside
        others = self.tree.by_name.get(name.replace("\\", "/").rpartition("/")[2], [])
        self.plain = False  # Label Studio writes paths of its own server
        if len(others) == 1:
            return others[0]
        self.tell.add("missing", where, f"picture '{printable(name)}' is missing" if not others else
                      f"picture '{printable(name)}' could be any of {shown(others, 3)}")
        return None

    def _size(self, record):
        size = [record.get(side) for side in ("width", "height")]
        if all(_is_number(value) and 0 < value < coco.LARGEST for value in size):
            self.plain &= type(record["id"]) is int
            return [int(value) for value in size]
        self.plain = False
        if any(value is not None for value in size):
            self.tell.add("value", f"'{self.path}'", f"image '{printable(record['file_name'])}' has the size "
                          f"{printable(size[0])}x{printable(size[1])}")
        return [None, None]

    def _boxes(self, numbers):
        """{image id: boxes}."""
        found = {}
        seen = set()
        for place, record in enumerate(self.content["annotations"]):
            where = f"'{self.path}': annotations[{place}]"
            if not isinstance(record, dict) or not _hashable(record.get("image_id")):
                self.tell.add("id", where, "it is no object with an image_id")
                continue
            self.plain &= all(key in record for key in PPDET_NEEDS["annotations"])
            number = record.get("id")
            if number is not None and (not _hashable(number) or number in seen):
                self.tell.add("id", where, f"annotation id {printable(number)} is there twice")
            elif number is not None:
                seen.add(number)
                where = f"'{self.path}': annotation id {printable(number)}"
            category = record.get("category_id")
            if not _hashable(category) or category not in numbers:
                self.tell.add("class", where, f"it has the unknown category id {printable(category)} (known: "
                              f"{shown(numbers, 10)})")
                continue
            box = record.get("bbox")
            if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
                self.tell.add("box", where, f"bbox is {printable(box)}, not [x, y, width, height]")
                continue
            x, y, width, height = box
            found.setdefault(record["image_id"], []).append(
                Box(numbers[category], x, y, x + width, y + height, crowd=bool(record.get("iscrowd")),
                    difficult=bool(record.get("difficult")), where=where))
        return found


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= coco.LARGEST  # nan is not


def image_folder(tree: Tree, annotations: str, names: list[Any]) -> str | None:
    """The folder that file names of an annotation file are relative to; None where no folder has any of them.

    The one with most of the first names; of equal ones, whose name is in the annotation file's, then the nearest to it.
    """
    names = [name.replace("\\", "/") for name in names if isinstance(name, str)][:LOOKED_AT]
    stem, beside = annotations.rpartition("/")[2].lower(), os.path.dirname(annotations)
    best, most = None, 0
    for folder in sorted(tree.picture_folders, key=lambda folder: (
            not (folder and folder.rpartition("/")[2].lower() in stem), folder != beside, folder.count("/"), folder)):
        count = sum(tree.inside(folder, name) in tree.names for name in names)
        if count > most:
            best, most = folder, count
    return best
