# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A CSV with a header and a box a line: file name, four corners in pixels, class; perhaps size and split."""
from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..data import coco
from ..data.reading import LIST_ENCODING
from ..errors import UserError, printable
from . import splits
from .class_lists import listed_names
from .coco_layout import image_folder
from .picture_set import ALL, Box, Complaints, Picture, PictureSet
from .tree import SPLIT_WORDS, Tree, read_bytes, shown

# what a column holds -> the names that it may have
COLUMNS = {"name": ("filename", "file_name", "image", "image_path", "path", "file", "img"),
           "x1": ("xmin", "x_min", "x1"), "y1": ("ymin", "y_min", "y1"),
           "x2": ("xmax", "x_max", "x2"), "y2": ("ymax", "y_max", "y2"),
           "class": ("class", "label", "class_name", "category", "name"), "width": ("width", "image_width"),
           "height": ("height", "image_height"), "split": ("split", "set", "subset")}
CORNERS = ("x1", "y1", "x2", "y2")
NEEDED = ("name", *CORNERS, "class")
SEPARATORS = (",", ";", "\t")
HEADER_BYTES = 4096


def recognise(tree: Tree) -> str | None:
    """The CSV files with such a header, in words."""
    files = files_of(tree)
    return shown(files, 3) if files else None


def files_of(tree: Tree) -> list[str]:
    """The CSV files with such a header, at most one folder below the root."""
    return [path for path in tree.of(".csv") if path.count("/") <= 1 and _header(tree, path) is not None]


def _header(tree, path):
    """({what: place}, separator) of a file's first line; None where it does not hold what is needed."""
    with open(tree.path(path), "rb") as file:
        line = file.read(HEADER_BYTES).decode(LIST_ENCODING, "replace").splitlines()[:1]
    for separator in SEPARATORS:
        titles = [title.strip().strip('"').lower() for title in "".join(line).split(separator)]
        places = {what: next((titles.index(name) for name in names if name in titles), None)
                  for what, names in COLUMNS.items()}
        if all(places[what] is not None for what in NEEDED):
            return places, separator
    return None


@dataclass
class _Row:
    """A picture while its lines are collected."""

    size: tuple[int | None, int | None] = (None, None)
    objects: list[tuple[str, tuple[float, ...], str]] = field(default_factory=list)


def read(tree: Tree, tell: Complaints, only: str | None = None) -> PictureSet:
    """Read the CSV files of a folder, or one of them.

    Raises:
        UserError: a file has no such header, or several could be one split; with strict ``tell`` any mistake in a line.
    """
    if only and _header(tree, only) is None:
        raise UserError(f"data set '{tree.path(only)}': its first line must name the columns: filename, xmin, ymin, "
                        "xmax, ymax, class")
    files = {ALL: only} if only else splits.by_file(files_of(tree), tree.root)
    rows: dict[str, dict[str, _Row]] = {}
    for split, path in files.items():
        for kind, name, row in _File(tree, path, tell).rows():
            whole = rows.setdefault(kind or split, {}).setdefault(name, _Row(row.size))
            whole.objects += row.objects
    if len(rows) > 1:
        rows.pop(ALL, None)
    names = listed_names(tree) or sorted({name for of_split in rows.values() for row in of_split.values()
                                          for name, _, _ in row.objects})
    if not names:
        raise UserError(f"data set '{tree.root}': no line of {shown(files.values())} has a box")
    found = PictureSet(tree.root, "CSV", tuple(names), {}, "" if ALL in rows else shown(files.values()))
    numbers = {name: number for number, name in enumerate(names)}
    for split, pictures in splits.chosen(rows).items():
        found.splits[split] = [Picture(tree.path(name), tuple(_boxes(row, numbers, tell)), *row.size)
                               for name, row in pictures.items()]
    left = len(tree.pictures) - len({name for of_split in rows.values() for name in of_split})
    if left > 0:
        found.notes.append(f"{left} pictures are in no line: left out")
    return found


def _boxes(row, numbers, tell):
    for name, corners, where in row.objects:
        if name in numbers:
            yield Box(numbers[name], *corners, where=where)
        else:
            tell.add("class", where, f"class '{printable(name)}' is not in the list of classes ({shown(numbers)})")


class _File:
    """One CSV file while it is read."""

    def __init__(self, tree: Tree, path: str, tell: Complaints) -> None:
        self.tree, self.relative, self.path, self.tell = tree, path, tree.path(path), tell
        self.places, self.separator = _header(tree, path)

    def rows(self) -> Iterator[tuple[str | None, str, _Row]]:
        """(split or None, the picture's relative path, size and object) of each line."""
        lines = list(self._lines())
        folder = image_folder(self.tree, self.relative, [values[self.places["name"]] for _, values in lines])
        for where, values in lines:
            given = {what: values[place].strip() if place is not None and place < len(values) else ""
                     for what, place in self.places.items()}
            picture = self._picture(folder, given["name"], where)
            if picture is not None:
                yield (SPLIT_WORDS.get(given["split"].lower()), picture,
                       _Row(self._size(given), list(self._object(given, where))))

    def _lines(self):
        try:
            text = read_bytes(self.path, "data set", "ANNOTATION_BYTES").decode(LIST_ENCODING)
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.separator)
            next(reader)
            for values in reader:
                if any(value.strip() for value in values):
                    where = f"'{self.path}' line {reader.line_num}"
                    if len(values) > self.places["name"]:
                        yield where, values
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"data set: '{self.path}' is no CSV that can be read ({error})") from None

    def _picture(self, folder: str | None, name: str, where: str) -> str | None:
        inside = self.tree.inside(folder or "", name)
        if inside in self.tree.names:
            return inside
        others = self.tree.by_name.get(name.replace("\\", "/").rpartition("/")[2], [])
        if len(others) == 1:  # paths of another machine
            return others[0]
        self.tell.add("missing", where, f"picture '{printable(name)}' is missing" if not others else
                      f"picture '{printable(name)}' could be any of {shown(others, 3)}")
        return None

    def _size(self, given: dict[str, str]) -> tuple[int | None, int | None]:
        width, height = (_number(given[side]) for side in ("width", "height"))
        return (int(width), int(height)) if width and height and min(width, height) > 0 else (None, None)

    def _object(self, given: dict[str, str], where: str) -> Iterator[tuple[str, tuple[Any, ...], str]]:
        texts = [given[what] for what in CORNERS]
        if not any(texts):  # a background
            return
        corners = tuple(map(_number, texts))
        if None in corners:
            self.tell.add("box", where, f"xmin, ymin, xmax, ymax are {printable(', '.join(texts), 80)}: numbers of "
                          "pixels are wanted")
        elif not given["class"]:
            self.tell.add("class", where, "it has a box and no class")
        else:
            yield given["class"], corners, where


def _number(text):
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) <= coco.LARGEST else None


