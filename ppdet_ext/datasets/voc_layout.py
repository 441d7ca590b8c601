# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pascal VOC's layout: ImageSets/Main, plain folders of pictures and XML, and PaddleDetection's lists of both."""
from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from ..data import coco
from ..errors import UserError, printable
from . import splits
from .class_lists import listed_names
from .picture_set import ALL, Box, Complaints, Picture, PictureSet, ReadAsIs
from .tree import SPLIT_WORDS, Tree, read_bytes, read_lines, shown, split_of, split_of_path

LABEL_LIST = "label_list.txt"
PICTURES, ANNOTATIONS, SETS = "JPEGImages", "Annotations", "ImageSets/Main"
SIDES = ("xmin", "ymin", "xmax", "ymax")
DECLARES = (b"<!ENTITY", b"<!DOCTYPE")  # no annotation tool writes them; entities can make small files endless


class _Pair(NamedTuple):
    """Relative paths of a picture and its XML, and where that is said."""

    picture: str
    xml: str
    where: str


class _Object(NamedTuple):
    """An object of an XML file, its class by name."""

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool
    where: str


def recognise_lists(tree: Tree) -> str | None:
    """PaddleDetection's layout: label_list.txt, and a list of pictures and XML files for a split."""
    lists = _list_files(tree)
    return f"{LABEL_LIST}, {shown(lists, 3)}" if LABEL_LIST in tree.names and lists else None


def _list_files(tree):
    return [path for path in tree.of(".txt") if "/" not in path and path != LABEL_LIST and split_of(path[:-4])]


def read_lists(tree: Tree, tell: Complaints, _only: str | None = None) -> PictureSet:
    """Read PaddleDetection's lists; ppdet can do so itself.

    Raises:
        UserError: several lists could be one split; with strict ``tell`` any mistake in a list or an XML file.
    """
    files = splits.by_file(_list_files(tree), tree.root)
    found = PictureSet(tree.root, "VOC lists", (), {}, "" if ALL in files else shown(files.values()))
    pairs = {split: list(_listed_pairs(tree, path, tell)) for split, path in files.items()}
    _fill(found, tree, pairs, tell)
    found.as_is = {split: ReadAsIs("VOC", path, "") for split, path in files.items()}
    return found


def _listed_pairs(tree, path, tell):
    for number, line in enumerate(read_lines(tree.path(path), "data set", "ANNOTATION_BYTES"), 1):
        where = f"'{tree.path(path)}' line {number}"
        if not line.strip():
            continue
        names = line.split()
        if len(names) < 2:
            tell.add("value", where, f"it is '{printable(line)}'; it must be '<image> <xml>', without spaces in the "
                     "names")
            continue
        inside = [tree.inside("", name) for name in names[:2]]
        if None in inside:
            tell.add("stray", where, f"it leads out of the data set's folder '{tree.root}'")
        else:
            yield _Pair(*inside, where)


def recognise(tree: Tree) -> str | None:
    """XML files; ImageSets/Main is named where it is there."""
    xmls = tree.of(".xml")
    if not xmls or not tree.pictures or not any(_is_annotation(tree.path(path)) for path in xmls[:3]):
        return None
    return next((os.path.dirname(path) for path in tree.of(".txt") if os.path.dirname(path).endswith(SETS)),
                shown(xmls, 1))


def _is_annotation(path):
    with open(path, "rb") as file:
        return b"<annotation" in file.read(4096)


def read(tree: Tree, tell: Complaints, _only: str | None = None) -> PictureSet:
    """Read ImageSets/Main, or pairs of pictures and XML files wherever they lie.

    Raises:
        UserError: with strict ``tell`` any mistake in a list or an XML file.
    """
    found = PictureSet(tree.root, "VOC", (), {}, "")
    sets = _sets(tree)
    if sets:
        pairs = {split: list(_set_pairs(tree, lists, tell)) for split, lists in sets.items()}
        found.splits_from = "" if ALL in sets else shown(path for lists in sets.values() for path in lists)
    else:
        pairs = _by_folders(tree, tell)
        found.splits_from = "" if ALL in pairs else f"folders {shown(pairs)}"
    used = {pair.picture for of_split in pairs.values() for pair in of_split}
    left = len(tree.pictures) - len(used.intersection(tree.pictures))
    if left:
        found.notes.append(f"{left} pictures {'are in no list that is used' if sets else 'have no XML file'}: left out")
    _fill(found, tree, pairs, tell)
    return found


def _sets(tree):
    """{split: its lists in ImageSets/Main, of one year or of several}; {} without any."""
    found: dict[str, list[str]] = {}
    for path in tree.of(".txt"):
        folder, _, name = path.rpartition("/")
        if f"/{folder}".endswith(f"/{SETS}") and name[:-4].lower() in SPLIT_WORDS:  # cat_train.txt is of one class
            found.setdefault(SPLIT_WORDS[name[:-4].lower()], []).append(path)
    return splits.chosen(found)


def _set_pairs(tree, lists, tell):
    for path in lists:
        base = path[:path.rindex(SETS)]
        pictures = {os.path.splitext(picture)[0]: picture for picture in tree.pictures
                    if picture.startswith(f"{base}{PICTURES}/")}
        for number, line in enumerate(read_lines(tree.path(path), "data set", "ANNOTATION_BYTES"), 1):
            where, text = f"'{tree.path(path)}' line {number}", line.strip()
            names = [name for name in (text, text.split(" ")[0], os.path.splitext(text)[0])
                     if f"{base}{PICTURES}/{name}" in pictures]
            if names:
                yield _Pair(pictures[f"{base}{PICTURES}/{names[0]}"], f"{base}{ANNOTATIONS}/{names[0]}.xml", where)
            elif text:
                tell.add("missing", where, f"there is no picture '{printable(text)}' in '{tree.path(base)}{PICTURES}'")


def _by_folders(tree, tell):
    """{split: pairs} of all XML files: the picture of the same name, the nearest one where there are several."""
    stems: dict[str, list[str]] = {}
    for picture in tree.pictures:
        stems.setdefault(os.path.splitext(picture.rpartition("/")[2])[0], []).append(picture)
    pairs: dict[str, list[_Pair]] = {}
    for xml in tree.of(".xml"):
        where, split = f"'{tree.path(xml)}'", split_of_path(xml)
        fits = stems.get(os.path.splitext(xml.rpartition("/")[2])[0], [])
        picture = _nearest(xml, split, fits)
        if picture:
            pairs.setdefault(split or split_of_path(picture) or ALL, []).append(_Pair(picture, xml, where))
        else:
            tell.add("missing", where, f"its picture could be any of {shown(fits, 3)}" if fits else
                     "no picture has its name")
    if len(pairs) > 1 and ALL in pairs:
        raise UserError(f"data set '{tree.root}': {len(pairs[ALL])} XML files lie beside the folders "
                        f"{shown(split for split in pairs if split != ALL)}, as {pairs[ALL][0].where}; move them into "
                        "one of these, or elsewhere")
    return splits.chosen(pairs)


def _nearest(xml: str, split: str | None, fits: Sequence[str]) -> str | None:
    """The one picture of an XML file: beside it, else of its split, else the only one."""
    beside = [path for path in fits if os.path.dirname(path) == os.path.dirname(xml)]
    same = [path for path in fits if split_of_path(path) == split]
    return next((found[0] for found in (beside, same, fits) if len(found) == 1), None)


def _fill(found: PictureSet, tree: Tree, pairs: dict[str, list[_Pair]], tell: Complaints) -> None:
    """Read the XML files; the classes are the listed ones, else those that are found, by name."""
    listed = listed_names(tree)
    read_in = {split: [(pair, *_read_xml(tree, pair, tell)) for pair in of_split if _is_there(tree, pair, tell)]
               for split, of_split in pairs.items()}
    names = listed or sorted({one.name for rows in read_in.values() for *_, objects in rows for one in objects})
    if not names:
        raise UserError(f"data set '{tree.root}': no XML file has an object, and no {LABEL_LIST} names the classes")
    numbers = {name: number for number, name in enumerate(names)}
    found.names = tuple(names)
    for split, rows in read_in.items():
        found.splits[split] = [
            Picture(tree.path(pair.picture), tuple(_boxes(objects, numbers, tell)), *size) for pair, size, objects in
            rows]


def _is_there(tree, pair, tell):
    for path in (pair.picture, pair.xml):
        if path not in tree.names:
            tell.add("missing", pair.where, f"'{tree.path(path)}' is missing")
            return False
    return True


def _boxes(objects: Iterable[_Object], numbers: dict[str, int], tell: Complaints) -> Iterable[Box]:
    for one in objects:
        if one.name in numbers:
            yield Box(numbers[one.name], *one.corners, difficult=one.difficult, where=one.where)
        else:
            tell.add("class", one.where, f"class '{printable(one.name)}' is not in the list of classes "
                     f"({shown(numbers)})")


def _read_xml(tree: Tree, pair: _Pair, tell: Complaints) -> tuple[tuple[int | None, int | None], list[_Object]]:
    """((width, height) or Nones, objects) of an XML file."""
    path, objects = tree.path(pair.xml), []
    root = None
    with tell.noting("file"):
        root = parse(path)
    if root is None:
        return (None, None), []
    for number, item in enumerate(root.findall("object"), 1):
        where = f"'{path}': object {number}"
        name = (item.findtext("name") or "").strip()
        x1, y1, x2, y2 = (_number(item.findtext(f"bndbox/{side}")) for side in SIDES)
        if not name:
            tell.add("class", where, "it has no name")
        elif x1 is None or y1 is None or x2 is None or y2 is None:
            tell.add("box", where, f"<bndbox> needs {', '.join(f'<{side}>' for side in SIDES)}, each a number of "
                     "pixels")
        else:
            difficult = (item.findtext("difficult") or "").strip() == "1"
            objects.append(_Object(name, (x1, y1, x2, y2), difficult, where))
    width, height = (_number(root.findtext(f"size/{side}")) for side in ("width", "height"))
    return ((int(width), int(height)) if width and height else (None, None)), objects


def parse(path: Path) -> ElementTree.Element:
    """The root of an XML file that declares nothing.

    Raises:
        UserError: it cannot be read, or has entities.
    """
    content = read_bytes(path, "data set")
    if any(word in content.replace(b"\0", b"").upper() for word in DECLARES):
        raise UserError(f"'{path}' has a <!DOCTYPE> or an <!ENTITY>, which no annotation needs; take it out")
    try:
        return ElementTree.fromstring(content)  # noqa: S314  without entities
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: odd encodings
        raise UserError(f"'{path}' is not XML that can be read ({error})") from None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) <= coco.LARGEST else None
