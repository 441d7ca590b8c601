# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a data set holds once ppdet has read it: boxes that count, what is left out, and where that cannot be right.

Both formats come down to arrays here: all boxes of a set as corners, with the picture and the class of each.
"""
from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError, printable
from .dataset_config import Source

logger = logging.getLogger("ppdet.engine")

# what a box or a picture may be -> (what becomes of it in training, in evaluation)
FATES = {"iscrowd: 1": ("left out", "neither hit nor miss"),
         "ignore: 1": ("left out", "counted, as pycocotools does it; iscrowd: 1 would leave them out"),
         "difficult: 1": ("learnt from", "neither hit nor miss"),
         "without area": ("left out", "left out"),
         "background images": ("left out; allow_empty: true keeps them", "counted")}
# those of them that training and evaluation cannot use
UNUSED = {True: ("iscrowd: 1", "ignore: 1", "without area"), False: ("iscrowd: 1", "difficult: 1", "without area")}
# pycocotools' maxDets, which is of each class
MOST_COUNTED = 100
# a set of which so many boxes reach over the border is not only drawn carelessly
MANY_OVER = 0.25


@dataclasses.dataclass(frozen=True)
class Contents:
    """A data set that has been checked.

    Args:
        classes: [(id, name)] in class order.
        most: objects in the fullest picture.
        most_of_class: objects of one class in one picture, at most.
        example: that fullest picture's file.
    """
    classes: list[tuple[int, str]]
    most: int = 0
    most_of_class: int = 0
    example: str = ""


def require_pixels(boxes: np.ndarray, sizes: np.ndarray, example: str, file: Path, form: str) -> None:
    """Refuse boxes as shares of the picture, which ppdet would take for specks of a pixel.

    Args:
        boxes: [n, 4] of any form.
        sizes: [n, 2], width and height of their pictures.
        example: names the first box.
        file: the annotations.
        form: how a box is to be written.

    Raises:
        UserError: all are from 0 to 1, in pictures of more than two pixels.
    """
    if len(boxes) and np.isfinite(boxes).all() and (boxes >= 0).all() and (boxes <= 1).all() and sizes.max() > 2:
        raise UserError(f"'{file}': all {len(boxes)} boxes lie between 0 and 1, so they are shares of the picture; "
                        f"write {form} in pixels (times width or height); first: {printable(example, 300)}")


def require_sizes(boxes: np.ndarray, over: np.ndarray, sizes: np.ndarray, example: str, file: Path) -> None:
    """Refuse boxes as two corners, which ppdet would take for a corner and a size.

    Args:
        boxes: [n, 4] as x, y, width, height in pixels.
        over: bool [n], those that reach over their picture's border.
        sizes: [n, 2], width and height of their pictures.
        example: names the first box.
        file: the annotations.

    Raises:
        UserError: as corners all lie within their pictures, and as corner and size many do not.
    """
    as_corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sizes + 1)
    if len(boxes) and over.mean() > MANY_OVER and as_corners.all():
        raise UserError(f"'{file}': {over.sum()} of {len(boxes)} boxes reach over the border, but as two corners [x1, "
                        "y1, x2, y2] all lie within their pictures; write [x, y, width, height], so [x1, y1, x2 - x1, "
                        f"y2 - y1]; first: {printable(example, 300)}")


def summary(source: Source, facts: Mapping[str, int], boxes: int, images: int, usable: int, required: bool = True
            ) -> None:
    """One line on what is left out, where anything is.

    Args:
        facts: how many there are of each of ``FATES``; a background image has no box that counts.
        boxes, images: how many there are in all.
        usable: boxes that count.
        required: whether a set without any is a mistake.

    Raises:
        UserError: no box is left.
    """
    said = ", ".join(f"{number} {name} ({_fate(source, name)})" for name, number in facts.items() if number)
    if not usable and required:
        what = "learn from" if source.trains else "measure AP with"
        reasons = ", ".join(f"{facts[name]} {name}" for name in UNUSED[source.trains] if facts.get(name))
        raise UserError(f"'{source.anno_file}' has no box to {what}: {boxes} annotations in {images} images"
                        f"{', ' + reasons if reasons else ''}; " + (
                            "write iscrowd: 0 for single objects" if facts.get("iscrowd: 1") else
                            f"name another file in {source.section}.anno_path"))
    if said:
        logger.info("'%s': %d annotations in %d images; of these %s", source.anno_file, boxes, images, said)


def _fate(source, name):
    keeps = {"background images": source.allow_empty, "iscrowd: 1": source.load_crowd}.get(name, False)
    return "kept" if source.trains and keeps else FATES[name][0 if source.trains else 1]


def fullest(objects: Sequence[tuple[int, int]]) -> tuple[int, int, int | None]:
    """(objects of the fullest picture, objects of one class in one picture at most, that fullest picture's number).

    Args:
        objects: the number of its picture, and of its class, for each.
    """
    if not objects:
        return 0, 0, None
    (image, most), = Counter(image for image, _ in objects).most_common(1)
    return most, max(Counter(objects).values()), image
