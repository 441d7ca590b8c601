# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""AP, AP50 and the precision-recall curve of each class, as pycocotools has them."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import matching
from .box_tables import Found, Truth, read

IOUS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True)
class ClassResult:
    """One class: its name, AP and AP50 (None without ground truth), and the curve at IoU 0.5."""

    name: str
    ap: float | None
    ap50: float | None
    precision: np.ndarray
    recall: np.ndarray


def coco_results(detections: str | Path, anno_path: str | Path) -> list[ClassResult]:
    """Each class's results from a bbox.json, sorted by category id as pycocotools does it."""
    return class_results(*read(anno_path, detections))


def class_results(truth: Truth, found: Found) -> list[ClassResult]:
    """Each class's results, in the truth's order."""
    right, ignored = np.zeros((2, len(IOUS), len(found.image)), bool)
    for image in matching.images(truth, found):
        crowd = image.crowd.max(1)
        for number, least in enumerate(IOUS):
            taken = matching.take(image.own, least) >= 0
            right[number, image.detections], ignored[number, image.detections] = taken, ~taken & (crowd >= least)
    objects = np.bincount(truth.label[~truth.crowd], minlength=len(truth.names))
    results = []
    for name, count, rows in zip(truth.names, objects, matching.by_class(truth, found)):
        if not count:
            results.append(ClassResult(name, None, None, np.full(len(matching.RECALLS), -1.0), matching.RECALLS))
            continue
        table = np.array([matching.precisions(hit[~out], count) for hit, out in zip(right[:, rows], ignored[:, rows])])
        results.append(ClassResult(name, float(table.mean()), float(table[0].mean()), table[0], matching.RECALLS))
    return results
