# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""YOLO's layout: a text file beside each picture with class and box as shares; names in data.yaml, or a list, or none.
"""
from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import yaml

from .. import plain_yaml
from ..data import coco
from ..deploy.image_files import upright_size
from ..deploy.image_formats import UnreadableImage
from ..errors import UserError, printable
from .class_lists import NAME_FILES, distinct, listed_names
from .picture_set import ALL, Box, Complaints, Picture, PictureSet
from .tree import Tree, read_lines, shown, split_of_path

LISTS = (*NAME_FILES, "readme.txt", "requirements.txt")  # texts that label no picture
PICTURE_FOLDERS = ("images", "jpegimages")  # beside a folder 'labels'
BOX_VALUES = 5  # class and box; more are the corners of a shape
LEAST_POLYGON = 7
OVER = 1.01  # a share beyond this one is not a rounded 1
MOST_CLASSES = 100_000
KEYS = ("train", "val", "test")
NAMELESS = "LABEL_{}"  # see checkpoints.facts.NO_NAME


def recognise(tree: Tree) -> str | None:
    """What makes it YOLO's, in words: data.yaml, folders 'labels' with texts, or texts beside pictures."""
    described = yaml_of(tree)
    if described is not None:
        return described
    return next((path for path in label_files(tree)), None)


def yaml_of(tree: Tree) -> str | None:
    """The YAML file that describes the set: data.yaml, else the first that names classes and a split."""
    found = [path for path in tree.of(".yaml", ".yml") if path.count("/") <= 1]
    for path in sorted(found, key=lambda path: (path.count("/"), path.rpartition("/")[2] not in ("data.yaml",
                                                                                                 "data.yml"), path)):
        try:
            content = plain_yaml.load(plain_yaml.read_text(tree.path(path)))
        except (yaml.YAMLError, OSError, ValueError):
            continue
        if isinstance(content, dict) and ("names" in content or "nc" in content) and any(key in content for key in
                                                                                         KEYS):
            return path
    return None


def label_files(tree: Tree) -> list[str]:
    """Texts that label pictures: of a picture's name, where such are looked for."""
    texts = set(tree.of(".txt"))
    return sorted({text for picture in tree.pictures for text in label_paths(picture) if text in texts
                   and text.rpartition("/")[2].lower() not in LISTS})


def label_paths(picture: str) -> list[str]:
    """Where the labels of a picture may lie, likeliest first: images -> labels in its path, beside it."""
    stem = os.path.splitext(picture)[0]
    parts = stem.split("/")
    places = [place for place, part in enumerate(parts[:-1]) if part.lower() in PICTURE_FOLDERS]
    found = ["/".join([*parts[:place], "labels", *parts[place + 1:]]) for place in reversed(places)]
    return [f"{path}.txt" for path in (*found, stem, "/".join([*parts[:-1], "labels", parts[-1]]))]


def read(tree: Tree, tell: Complaints, only: str | None = None) -> PictureSet:
    """Read a folder, or what one YAML file of it says.

    Raises:
        UserError: the YAML cannot be read, or names no pictures; with strict ``tell`` any mistake in a label file.
    """
    described = only or yaml_of(tree)
    found = PictureSet(tree.root, "YOLO", (), {}, "")
    names, paths = _by_yaml(tree, described, tell, found.notes) if described else (listed_names(tree),
                                                                                  _by_folders(tree, found.notes))
    if ALL not in paths:
        found.splits_from = described or f"folders {shown(dict.fromkeys(map(_split_folder, paths.values())))}"
    reading = _Labels(tree, tell, None if names is None else len(names))
    found.splits = {split: [one for one in map(reading.picture, pictures) if one] for split, pictures in paths.items()}
    found.names = tuple(names if names is not None else map(NAMELESS.format, range(reading.largest + 1)))
    if names is None:
        found.notes.append("no file names the classes (data.yaml, classes.txt): they are numbered")
    if reading.polygons:
        found.notes.append(f"{reading.polygons} shapes became the boxes around them")
    if not found.names:
        raise UserError(f"data set '{tree.root}': no label file has a box, and no file names the classes")
    return found


def _split_folder(pictures):
    return os.path.dirname(pictures[0]) if pictures else ""


def _by_folders(tree, notes):
    """{split: pictures} by the folders' names. A folder of which no picture has labels is not the data set's, unless it
    lies in one called images: what a training writes may be here, too."""
    labelled = {os.path.dirname(path) for path in tree.pictures if _text_of(tree, path)}
    found = {}
    for path in tree.pictures:
        folder = os.path.dirname(path)
        if folder in labelled or any(part.lower() in PICTURE_FOLDERS for part in folder.split("/")):
            found.setdefault(split_of_path(path) or ALL, []).append(path)
    if len(found) > 1:
        found.pop(ALL, None)  # pictures at the side of the splits
    left = len(tree.pictures) - sum(map(len, found.values()))
    if left:
        notes.append(f"{left} pictures lie beside the data set's folders: left out")
    return found or {ALL: []}


def _text_of(tree, picture):
    """The label file of a picture; None for a background."""
    return next((place for place in label_paths(picture) if place in tree.names), None)


def _by_yaml(tree, path, tell, notes):
    where = f"'{tree.path(path)}'"
    try:
        content = plain_yaml.load(plain_yaml.read_text(tree.path(path)))
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not YAML: {' '.join(str(error).split())[:300]}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {where} ({getattr(error, 'strerror', None) or 'not UTF-8 text'})") from None
    if not isinstance(content, dict):
        raise UserError(f"{where} holds no 'key: value' lines")
    names = _names(content, where)
    base = _base(tree, path, content.get("path"), where)
    found = {}
    for key in KEYS:
        entries = content.get(key)
        if key == "test" and isinstance(entries, str) and not _is_there(tree, _place(tree, base, entries)):
            notes.append(f"{path} names a test set, '{printable(entries)}', that is not there")
        elif entries is not None and entries != "":
            found[key] = _pictures(tree, base, entries, f"{where}: {key}", tell)
    if not any(found.values()):
        raise UserError(f"{where} names no pictures: write 'train: images/train' and 'val: images/val', relative to "
                        "this file or to its 'path'")
    # one folder for all is one undivided set
    first, *others = found.values()
    return names, {ALL: first} if len(found) == 1 or all(one == first for one in others) else found


def _names(content: dict[Any, Any], where: str) -> list[str] | None:
    names, count = content.get("names"), content.get("nc")
    if isinstance(names, dict):
        keys = sorted(names, key=lambda key: (not isinstance(key, int), str(key) if not isinstance(key, int) else key))
        if keys != list(range(len(keys))):
            raise UserError(f"{where}: names has the keys {shown(keys)}; they are the classes' numbers, from 0")
        names = [names[key] for key in keys]
    if names is None:
        if isinstance(count, int) and not isinstance(count, bool) and 0 < count <= MOST_CLASSES:
            return [NAMELESS.format(number) for number in range(count)]
        raise UserError(f"{where} names no classes; write 'names: [cat, dog]'")
    if not isinstance(names, list):
        raise UserError(f"{where}: names is {printable(names)}, no list of class names")
    if isinstance(count, int) and count != len(names):
        raise UserError(f"{where}: nc is {count}, but there are {len(names)} names")
    return distinct(["" if name is None else str(name) for name in names], where)


def _base(tree, path, given, where):
    """The folder that a YAML's entries are relative to, relative to the root."""
    here = os.path.dirname(path)
    if given is None:
        return here
    if not isinstance(given, str):
        raise UserError(f"{where}: path is {printable(given)}, no folder")
    found = tree.inside(here, os.path.expanduser(given))
    if found is None and Path(os.path.expanduser(given)).is_absolute() and os.path.isdir(os.path.expanduser(given)):
        raise UserError(f"{where}: path '{printable(given)}' leads out of the data set's folder; move the file into "
                        "that folder (then 'path' may be left out) and name it, or the folder")
    # a folder that is not there is relative to another program's folder of data sets
    return found if found is not None and os.path.isdir(tree.path(found)) else here


def _pictures(tree, base, entries, where, tell):
    """Pictures of one entry: a folder, a list of pictures, or several of them."""
    found, seen = [], set()
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, str):
            raise UserError(f"{where} is {printable(entry)}; it takes a folder, a .txt list, or a list of them")
        place = _place(tree, base, entry)
        if place in seen:
            continue
        seen.add(place)
        if place is None:
            tell.add("stray", where, f"'{printable(entry)}' leads out of the data set's folder '{tree.root}'")
        elif place in tree.names and place.lower().endswith(".txt"):
            found += _listed(tree, place, tell)
        elif os.path.isdir(tree.path(place)):
            prefix = "" if place in (".", "") else f"{place}/"
            found += [path for path in tree.pictures if path.startswith(prefix)]
        else:
            tell.add("missing", where, f"there is no '{printable(entry)}' in '{tree.path(base)}'")
    return list(dict.fromkeys(found))


def _place(tree, base, entry):
    """An entry's place below the root; Roboflow writes '../' that its own folders do not have."""
    short = entry
    while short.startswith(("../", "..\\")):
        short = short[3:]
    places = [tree.inside(base, text) for text in (entry, short)]
    return next((place for place in places if _is_there(tree, place)), places[0])


def _is_there(tree, place):
    return place is not None and os.path.exists(tree.path(place))


def _listed(tree, path, tell):
    found = []
    for number, line in enumerate(read_lines(tree.path(path), "data set", "ANNOTATION_BYTES"), 1):
        if not line.strip():
            continue
        where = f"'{tree.path(path)}' line {number}"
        # relative to the list, or to the root
        places = [tree.inside(folder, line.strip()) for folder in (os.path.dirname(path), "")]
        there = next((place for place in places if place in tree.names), None)
        if there is not None:
            found.append(there)
        elif places[0] is None:
            tell.add("stray", where, f"'{printable(line.strip())}' leads out of the data set's folder '{tree.root}'")
        else:
            tell.add("missing", where, f"picture '{printable(line.strip())}' is missing")
    return found


class _Labels:
    """Label files while they are read.

    Attributes:
        largest: the largest class number so far, -1 before the first.
        polygons: how many lines were shapes.
    """

    def __init__(self, tree: Tree, tell: Complaints, classes: int | None) -> None:
        self.tree, self.tell, self.classes = tree, tell, classes
        self.largest, self.polygons = -1, 0

    def picture(self, path: str) -> Picture | None:
        """A picture with its boxes; None where it cannot be read."""
        try:
            width, height, _ = upright_size(self.tree.path(path))
        except UnreadableImage as error:
            self.tell.add("picture", f"'{self.tree.path(path)}'", f"the picture is unreadable: {error.reason}")
            return None
        text = _text_of(self.tree, path)
        boxes = self._boxes(self.tree.path(text), width, height) if text else ()
        return Picture(self.tree.path(path), tuple(box for box in boxes if box), width, height)

    def _boxes(self, path, width, height):
        lines = []
        with self.tell.noting("file"):
            lines = read_lines(path, "data set")
        return [self._box(line.split(), f"'{path}' line {number}", width, height)
                for number, line in enumerate(lines, 1) if line.strip()]

    def _box(self, values, where, width, height):
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            numbers = [math.nan]
        if not all(math.isfinite(number) for number in numbers) or not (
                len(numbers) == BOX_VALUES or (len(numbers) >= LEAST_POLYGON and len(numbers) % 2)):
            self.tell.add("box", where, f"it is '{printable(' '.join(values), 80)}', not 'class x y width height' or "
                          "'class x1 y1 x2 y2 x3 y3 ...'")
            return None
        kind, shares = numbers[0], numbers[1:]
        if kind != int(kind) or not 0 <= kind < (MOST_CLASSES if self.classes is None else self.classes):
            known = f" (there are {self.classes} names, from 0)" if self.classes is not None else ""
            self.tell.add("class", where, f"class {values[0]:.20} is unknown{known}")
            return None
        if max(shares) > OVER or min(shares) < 1 - OVER:
            self.tell.add("box", where, f"it is '{printable(' '.join(values), 80)}': values must be shares of the "
                          "picture, from 0 to 1")
            if max(map(abs, shares)) > coco.LARGEST:
                return None
        self.largest = max(self.largest, int(kind))
        return Box(int(kind), *self._corners(shares, width, height), where=where)

    def _corners(self, shares, width, height):
        if len(shares) == BOX_VALUES - 1:
            x, y, w, h = shares
            x1, y1, x2, y2 = x - w / 2, y - h / 2, x + w / 2, y + h / 2
        else:
            self.polygons += 1
            x1, x2, y1, y2 = min(shares[::2]), max(shares[::2]), min(shares[1::2]), max(shares[1::2])
        return x1 * width, y1 * height, x2 * width, y2 * height


