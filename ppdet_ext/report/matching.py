# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Which detection takes which object, and the precision that follows: pycocotools' rules, on arrays.

The numbers are pycocotools' own, to the last bit (tests/report hold them against it). It makes some objects for each
detection: with 300 in each of 5,000 images that takes gigabytes and minutes.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .box_tables import Found, Truth

RECALLS = np.linspace(0, 1, 101)
_EPSILON = np.spacing(1)


class Image(NamedTuple):
    """One image's overlaps.

    Attributes:
        detections, objects: which rows of ``Found`` and of ``Truth``.
        own, other, crowd: [detections, objects] of IoU with objects of the detection's class, with objects of other
            classes, and the share of the detection in crowds of its class; 0 elsewhere.
    """

    detections: slice
    objects: slice
    own: np.ndarray
    other: np.ndarray
    crowd: np.ndarray


def images(truth: Truth, found: Found) -> Iterator[Image]:
    """The images that have detections and objects."""
    from pycocotools import mask

    places = np.arange(len(truth.ids) + 1)
    objects, detections = np.searchsorted(truth.image, places), np.searchsorted(found.image, places)
    for image in np.flatnonzero(np.diff(objects) * np.diff(detections)):
        ours, theirs = slice(*detections[image:image + 2]), slice(*objects[image:image + 2])
        crowd = truth.crowd[theirs]
        overlap = np.asarray(mask.iou(found.boxes[ours], truth.boxes[theirs], crowd.astype(np.uint8).tolist()))
        same = found.label[ours, None] == truth.label[theirs]
        yield Image(ours, theirs, np.where(same & ~crowd, overlap, 0), np.where(~same & ~crowd, overlap, 0),
                    np.where(same & crowd, overlap, 0))


def take(overlap: np.ndarray, least: float, preferred: np.ndarray | None = None) -> np.ndarray:
    """Of each row, in order, the free column that it overlaps most, ``least`` or more; -1 for none. Of two equal ones
    the later. ``preferred``: a table whose columns with ``least`` come before all others."""
    taken, free = np.full(len(overlap), -1), np.ones(overlap.shape[1], bool)
    for row in np.flatnonzero((overlap >= least).any(1)):
        for table in ((overlap,) if preferred is None else (preferred, overlap)):
            values = np.where(free, table[row], 0)
            column = len(values) - 1 - int(values[::-1].argmax())
            if values[column] >= least:
                taken[row], free[column] = column, False
                break
        if not free.any():
            break
    return taken


def precisions(right: np.ndarray, objects: int) -> np.ndarray:
    """Precision at the 101 ``RECALLS`` of one class at one IoU; ``right``: its detections, the best score first."""
    hits = np.cumsum(right, dtype=float)
    precision = hits / (np.arange(1, len(hits) + 1) + _EPSILON)
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)  # at a recall that is not reached: 0
    return precision[np.searchsorted(hits / objects, RECALLS)]


def by_class(truth: Truth, found: Found) -> list[np.ndarray]:
    """Of each class, the rows of its detections, the best score first."""
    order = np.lexsort((-found.score, found.label))
    return np.split(order, np.searchsorted(found.label[order], np.arange(1, len(truth.names))))
