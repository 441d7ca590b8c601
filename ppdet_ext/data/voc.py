# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Checks of a data set in Pascal VOC layout: a list of '<image> <xml>' lines, XML files, a list of labels."""
from __future__ import annotations

import logging
import math
import os
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ..config.rules import shown
from ..errors import UserError, nearest
from . import contents
from .dataset_config import Source
from .images import check_headers
from .reading import LIST_ENCODING

logger = logging.getLogger("ppdet.engine")
BACKGROUND = "background"  # where it is the first label, ppdet leaves it out in some places and counts it in others


def labels(source: Source) -> list[tuple[int, str]]:
    """[(class index, name)] of the label list; the 20 of Pascal VOC where the config names none, as in ppdet."""
    if source.label_file is None:
        from ppdet.data.source.voc import pascalvoc_label
        return sorted((number, name) for name, number in pascalvoc_label().items())
    found = read_label_file(source.label_file, f"{source.section}.label_list")
    if found[0][1] == BACKGROUND:
        raise UserError(f"{source.section}.label_list: line 1 of '{source.label_file}' is '{BACKGROUND}', which is no "
                        "class here, and evaluation and export would leave it out; delete the line (num_classes: "
                        f"{len(found) - 1})")
    return found


def read_label_file(path: Path, where: str) -> list[tuple[int, str]]:
    """[(line number from 0, name)] of a text file with a class name per line."""
    if not os.path.isfile(path):
        raise UserError(f"{where}: label list '{path}' is missing; write one class name per line into it")
    names = [line.strip() for line in read_lines(path, where)]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise UserError(f"{where}: '{path}' is empty; write one class name per line into it")
    bad = next((place for place, name in enumerate(names) if not name or names.index(name) != place), None)
    if bad is not None:
        raise UserError(f"{where}: line {bad + 1} of '{path}' is {'a repetition' if names[bad] else 'empty'}")
    return list(enumerate(names))


def read_lines(path: Path, where: str) -> list[str]:
    """Lines of a list; raises UserError where it cannot be read, or is not UTF-8."""
    try:
        return path.read_text(encoding=LIST_ENCODING).splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: cannot read '{path}' ({getattr(error, 'strerror', None) or 'not UTF-8 text'})"
                        ) from None


def check(source: Source, needs_boxes: bool = True) -> contents.Contents:
    """Check one data set: list, label list, XML files, images on disk, boxes.

    Args:
        needs_boxes: whether a set without boxes is a mistake.

    Raises:
        UserError: the first problem, with file and line.
    """
    pairs = labels(source)
    names = [name for _, name in pairs]
    listing = source.anno_file
    if not os.path.isfile(listing):
        raise UserError(f"{source.section}: image list '{listing}' is missing; it needs a line '<image> <xml>' for "
                        f"each image (set {source.section}.dataset_dir and {source.section}.anno_path)")
    paths, xmls = [], []
    for number, line in enumerate(read_lines(listing, f"{source.section}.anno_path"), 1):
        where = f"'{listing}' line {number}"
        if len(line.split()) < 2:
            raise UserError(f"{where} is '{line}'; it must be '<image> <xml>', without spaces in the names")
        image, xml = (source.image(name) for name in line.split()[:2])
        stray = source.stray([image, xml])
        if stray is not None:
            raise UserError(f"{where}: '{stray}' is outside the data set's folder '{source.dataset_dir}'; write names "
                            "relative to it, or name a folder that holds them all as dataset_dir")
        for path in (image, xml):
            if not os.path.isfile(path):
                raise UserError(f"{where}: '{path}' is missing")
        paths.append(image)
        xmls.append(xml)
    if not paths:
        raise UserError(f"{source.section}: image list '{listing}' is empty")
    annotations = [_read_xml(xml, names) for xml in xmls]
    check_headers(paths, [size for size, _ in annotations])  # before the boxes, which exchanged sizes put outside
    _check_boxes(source, xmls, annotations)
    _count(source, annotations, needs_boxes)
    objects = [(place, names.index(name)) for place, (_, found) in enumerate(annotations) for name, _, _ in found]
    most, of_class, place = contents.fullest(objects)
    return contents.Contents(pairs, most, of_class, "" if place is None else str(paths[place]))


def _check_boxes(source, xmls, annotations):
    objects = [(xml, size, number, *found) for xml, (size, items) in zip(xmls, annotations)
               for number, found in enumerate(items, 1)]
    if not objects:
        return
    xml, _, _, name, box, _ = objects[0]
    contents.require_pixels(np.array([found[4] for found in objects], "float64"),
                            np.array([found[1] for found in objects], "float64"), f"'{name}' of '{xml}': {box}",
                            source.anno_file, "<xmin>, <ymin>, <xmax>, <ymax>")
    for xml, (width, height), number, name, (x1, y1, x2, y2), _ in objects:
        if x2 < x1 or y2 < y1 or x1 >= width or y1 >= height or x2 < 0 or y2 < 0:
            raise UserError(f"'{xml}': object {number} ('{name}') has the box [{x1:g}, {y1:g}, {x2:g}, {y2:g}], "
                            f"outside the {width:g}x{height:g} image or with negative size")


def _count(source, annotations, needs_boxes):
    """One line on difficult objects, those without area, and background images."""
    facts = Counter({"difficult: 1": 0, "without area": 0})
    usable = 0
    for (width, height), objects in annotations:
        before = usable
        for _, (x1, y1, x2, y2), difficult in objects:
            kinds = {"difficult: 1": difficult,
                     "without area": min(x2, width - 1) <= max(x1, 0) or min(y2, height - 1) <= max(y1, 0)}
            facts.update(name for name, there in kinds.items() if there)
            usable += not any(kinds.get(name) for name in contents.UNUSED[source.trains])
        facts["background images"] += usable == before
    contents.summary(source, facts, sum(len(objects) for _, objects in annotations), len(annotations), usable,
                     needs_boxes)


def _number(node, path, xml):
    try:
        number = float(node.find(path).text)
    except (AttributeError, TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"'{xml}': <{path.replace('/', '><')}> of <{node.tag}> is missing or not a number")
    return number


def _check_whole(node, tag, allowed, words, xml):
    """A tag that ppdet reads as a whole number where it is there."""
    found = node.find(tag)
    if found is None:
        return
    try:
        good = int(found.text) in allowed
    except (TypeError, ValueError):
        good = False
    if not good:
        raise UserError(f"'{xml}': <{tag}> of <{node.tag}> is {shown(found.text)}, not {words}")


def _read_xml(xml, names):
    """((width, height), [(class name, (x1, y1, x2, y2), difficult)]) of a VOC annotation; the names are known ones."""
    try:
        root = ElementTree.parse(xml).getroot()  # noqa: S314  expat itself ends files that grow without bounds
    except (ElementTree.ParseError, ValueError, LookupError, OSError) as error:  # the middle two: odd encodings
        raise UserError(f"'{xml}' is not XML that can be read ({error})") from None
    _check_whole(root, "id", range(2 ** 53), "a whole number from 0", xml)
    width, height = _number(root, "size/width", xml), _number(root, "size/height", xml)
    if width <= 0 or height <= 0:
        raise UserError(f"'{xml}' gives the image size {width:g}x{height:g}")
    objects = []
    for number, item in enumerate(root.findall("object"), 1):
        name = item.findtext("name")
        if name not in names:
            raise UserError(f"'{xml}': object {number} has the unknown class '{name}'{nearest(name, names)} "
                            "(not in the label list)")
        _check_whole(item, "difficult", (0, 1), "0 or 1", xml)
        box = tuple(_number(item, f"bndbox/{side}", xml) for side in ("xmin", "ymin", "xmax", "ymax"))
        objects.append((name, box, int(item.findtext("difficult") or 0)))
    return (width, height), objects
