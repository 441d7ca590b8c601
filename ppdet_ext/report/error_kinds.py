# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What is wrong with each detection, what is not found, and how much AP each kind of error costs.

The kinds are those of TIDE (Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV
2020), with its limits of overlap (IoU), ``FOUND`` and ``NEAR``. Detections take objects as pycocotools does it at
IoU 0.5: the best score first, each the free object of its class that it overlaps most. Of one that gets none, the first
that holds decides:

- localisation: an object of its class is near (IoU from 0.1 to 0.5)
- classification: an object of another class is there (IoU at least 0.5)
- duplicate: an object of its class is there, and a detection with a better score has it
- background: no object is near (IoU at most 0.1)
- both: an object of another class is near

An object is missed where no detection takes it, and no localisation or classification error has it for its object.
What lies in a crowd of its class is neither right nor wrong.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import matching
from .box_tables import Found, Truth

FOUND, NEAR = 0.5, 0.1
CORRECT, CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, IGNORED = range(7)
MISSED = 7  # of objects, not of detections
#: kinds of errors -> what they are called
ERRORS = {
    CLASSIFICATION: ("classification", "分类"), LOCALISATION: ("localisation", "定位"),
    BOTH: ("both", "分类和定位"), DUPLICATE: ("duplicate", "重复"), BACKGROUND: ("background", "背景误检"),
    MISSED: ("missed", "漏检"),
}
#: COCO's sizes of boxes: name -> (at least, less than) square pixels
SIZES = {"small": (0, 32 ** 2), "medium": (32 ** 2, 96 ** 2), "large": (96 ** 2, np.inf)}


@dataclass(frozen=True)
class Errors:
    """An evaluation, detection by detection.

    Attributes:
        truth, found: what was held together.
        kind: [detections], one of the numbers above.
        target: [detections], the object that it took, or that its error is about; -1 for none.
        taker: [objects], the detection that took it; -1 for none.
        seen: [detections], the object that it takes when classes do not count (for the confusion matrix), or -1.
        threshold: the score from which on detections count in tables of numbers: that of the best F1.
    """

    truth: Truth
    found: Found
    kind: np.ndarray
    target: np.ndarray
    taker: np.ndarray
    seen: np.ndarray
    threshold: float

    @property
    def shown(self) -> np.ndarray:
        """[detections], whether it counts: its score is not below the threshold."""
        return self.found.score >= self.threshold

    @property
    def object_kind(self) -> np.ndarray:
        """[objects], CORRECT, CLASSIFICATION, LOCALISATION, MISSED or (crowds) IGNORED, at the threshold."""
        kind = np.full(len(self.truth.image), MISSED)
        for error in (LOCALISATION, CLASSIFICATION):
            kind[self.target[self.shown & (self.kind == error)]] = error
        kind[self.target[self.shown & (self.kind == CORRECT)]] = CORRECT
        kind[self.truth.crowd] = IGNORED
        return kind


def analyse(truth: Truth, found: Found) -> Errors:
    """Hold detections against objects, image by image."""
    kind = np.full(len(found.image), BACKGROUND)
    target, seen = np.full(len(kind), -1), np.full(len(kind), -1)
    for image in matching.images(truth, found):
        rows, first = image.detections, image.objects.start
        kind[rows], about = _kinds(image)
        target[rows] = np.where(about >= 0, about + first, -1)
        taken = matching.take(image.own + image.other, FOUND, image.own)
        seen[rows] = np.where(taken >= 0, taken + first, -1)
    taker = np.full(len(truth.image), -1)
    right = np.flatnonzero(kind == CORRECT)
    taker[target[right]] = right
    return Errors(truth, found, kind, target, taker, seen,
                  best_threshold(found.score[kind != IGNORED], kind[kind != IGNORED] == CORRECT, (~truth.crowd).sum()))


def _kinds(image):
    """(kind, column of the object that it took or that its error is about) of one image's detections."""
    taken = matching.take(image.own, FOUND)
    own, other = image.own.max(1), image.other.max(1)
    kind = np.select([taken >= 0, image.crowd.max(1) >= FOUND, (own >= NEAR) & (own < FOUND), other >= FOUND,
                      own >= FOUND, np.maximum(own, other) <= NEAR],
                     [CORRECT, IGNORED, LOCALISATION, CLASSIFICATION, DUPLICATE, BACKGROUND], BOTH)
    about = np.select([kind == CORRECT, (kind == LOCALISATION) | (kind == DUPLICATE),
                       (kind == CLASSIFICATION) | (kind == BOTH)],
                      [taken, image.own.argmax(1), image.other.argmax(1)], -1)
    return kind, about


def best_threshold(score: np.ndarray, right: np.ndarray, objects: int) -> float:
    """The score from which on detections have the best F1 (2 * right / (detections + objects)); 0.5 without one."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(right[order])
    if not len(hits) or not hits[-1]:
        return 0.5
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + objects)
    return float(score[order][f1.argmax()])


def ap50(errors: Errors, mended: int | None = None) -> float:
    """AP at IoU 0.5, the mean over classes that have objects; nan without one.

    Args:
        mended: a kind of error that is put right: a wrong class or place becomes right where no other detection has
            the object, else the detection is taken out; duplicates, background and both are taken out; objects that
            are missed do not count.
    """
    truth, found = errors.truth, errors.found
    label, right, kept = found.label, errors.kind == CORRECT, errors.kind != IGNORED
    counted = ~truth.crowd
    if mended in (CLASSIFICATION, LOCALISATION):
        wrong = np.flatnonzero(errors.kind == mended)
        wrong = wrong[errors.taker[errors.target[wrong]] < 0]
        wrong = wrong[np.argsort(-found.score[wrong], kind="stable")]
        wrong = wrong[np.unique(errors.target[wrong], return_index=True)[1]]  # the best of each object
        kept, label, right = kept & (errors.kind != mended), label.copy(), right.copy()
        kept[wrong], right[wrong], label[wrong] = True, True, truth.label[errors.target[wrong]]
    elif mended == MISSED:
        covered = np.isin(errors.kind, (CLASSIFICATION, LOCALISATION, CORRECT))
        counted = counted & np.isin(np.arange(len(counted)), errors.target[covered])
    elif mended is not None:
        kept = kept & (errors.kind != mended)
    objects = np.bincount(truth.label[counted], minlength=len(truth.names))
    order = np.lexsort((-found.score, label))
    chosen = order[kept[order]]
    edges = np.searchsorted(label[chosen], np.arange(len(truth.names) + 1))
    values = []
    for one in np.unique(truth.label[~truth.crowd]):
        rows = chosen[edges[one]:edges[one + 1]]
        # all objects of the class are missed, and that is mended: nothing is wrong with it
        values.append(matching.precisions(right[rows], objects[one]).mean() if objects[one] else 1.0)
    return float(np.mean(values)) if values else float("nan")


def costs(errors: Errors) -> dict[int, float]:
    """{kind: by how much AP50 is higher with its errors mended}."""
    now = ap50(errors)
    return {kind: ap50(errors, kind) - now for kind in ERRORS}


def of_size(area: np.ndarray, size: str) -> np.ndarray:
    """[N], whether an area in square pixels is of one of ``SIZES``."""
    low, high = SIZES[size]
    return (area >= low) & (area < high)


def counts(errors: Errors) -> dict[int, dict[str, int]]:
    """{kind: {'all': ..., 'small': ..., ...}}, CORRECT first: numbers at the threshold.

    The size is the detection's; of what is missed and of CORRECT it is the object's.
    """
    own_area = errors.found.boxes[:, 2] * errors.found.boxes[:, 3]
    of_object, shown = errors.object_kind, errors.shown
    table = {}
    for kind in (CORRECT, *ERRORS):
        area = errors.truth.area[of_object == kind] if kind in (CORRECT, MISSED) else \
            own_area[shown & (errors.kind == kind)]
        table[kind] = {"all": len(area), **{size: int(of_size(area, size).sum()) for size in SIZES}}
    return table


def confusion(errors: Errors) -> np.ndarray:
    """[classes + 1, classes + 1] of numbers at the threshold: rows are true classes, columns detected ones.

    Each detection takes, the best score first, the free object that it overlaps most (IoU at least 0.5), of its own
    class if there is one. The last row is what takes no object, the last column what is not taken.
    """
    truth, found, size = errors.truth, errors.found, len(errors.truth.names) + 1
    rows = np.flatnonzero(errors.shown & (errors.kind != IGNORED))
    seen = errors.seen[rows]
    true = np.where(seen >= 0, np.append(truth.label, 0)[seen], size - 1)
    left = ~truth.crowd
    left[seen[seen >= 0]] = False
    true = np.concatenate([true, truth.label[left]])
    detected = np.concatenate([found.label[rows], np.full(int(left.sum()), size - 1)])
    return np.bincount(true * size + detected, minlength=size * size).reshape(size, size)


@dataclass(frozen=True)
class ImageScore:
    """One image at the threshold: its place among the images, and numbers of right, wrong and missing boxes."""

    image: int
    right: int
    wrong: int
    missing: int

    @property
    def f1(self) -> float:
        """2 * right / (detections + objects)."""
        return 2 * self.right / (2 * self.right + self.wrong + self.missing)


def image_scores(errors: Errors) -> list[ImageScore]:
    """The images with an object or a detection, the worst first: by F1, then by the number of errors."""
    images, shown = len(errors.truth.ids), errors.shown
    right = np.bincount(errors.found.image[shown & (errors.kind == CORRECT)], minlength=images)
    wrong = np.bincount(errors.found.image[shown & ~np.isin(errors.kind, (CORRECT, IGNORED))], minlength=images)
    objects = np.bincount(errors.truth.image[~errors.truth.crowd], minlength=images)
    scores = [ImageScore(int(i), int(right[i]), int(wrong[i]), int(objects[i] - right[i]))
              for i in np.flatnonzero(right + wrong + objects)]
    return sorted(scores, key=lambda one: (one.f1, -(one.wrong + one.missing), -one.right))
