# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Ground truth and detections as columns of numbers, from what COCO's files say."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError

MOST = 100  # detections of an image and class that count, as in pycocotools


@dataclass(frozen=True)
class Truth:
    """The objects of an evaluation set.

    Attributes:
        ids, files: of the images, sorted by id; of each its file's name.
        names: of the classes, sorted by category id.
        categories: their ids.
        image, label: [N], of each object the place in ``ids`` and in ``names``; sorted by image.
        boxes: [N, 4] of x, y, width, height in pixels.
        area: [N], square pixels, as the annotation says.
        crowd: [N], whether it stands for several objects, so that it is neither found nor missed.
    """

    ids: np.ndarray
    files: tuple[str, ...]
    names: tuple[str, ...]
    categories: np.ndarray
    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    area: np.ndarray
    crowd: np.ndarray

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Truth:
        """From the content of a COCO annotation file; objects of images or categories that it does not list are left
        out, as pycocotools does."""
        images = sorted({image["id"]: image for image in content["images"]}.values(), key=lambda image: image["id"])
        classes = sorted(content["categories"], key=lambda category: category["id"])
        ids, categories = _integers(one["id"] for one in images), _integers(one["id"] for one in classes)
        objects = content.get("annotations") or []
        image, known = _places(ids, _integers(one["image_id"] for one in objects))
        label, named = _places(categories, _integers(one["category_id"] for one in objects))
        boxes = _floats([one["bbox"] for one in objects]).reshape(-1, 4)
        area = _floats([one.get("area", one["bbox"][2] * one["bbox"][3]) for one in objects])
        crowd = np.array([bool(one.get("iscrowd")) for one in objects], bool)
        kept = np.flatnonzero(known & named)
        kept = kept[np.argsort(image[kept], kind="stable")]
        return cls(ids, tuple(str(one.get("file_name", one["id"])) for one in images),
                   tuple(str(one["name"]) for one in classes), categories, image[kept], label[kept], boxes[kept],
                   area[kept], crowd[kept])


@dataclass(frozen=True)
class Found:
    """Detections; columns as in :class:`Truth`. Sorted by image, then by score from the highest on."""

    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    score: np.ndarray

    @classmethod
    def of(cls, results: Sequence[Mapping[str, Any]], truth: Truth) -> Found:
        """From the content of a bbox.json; see :meth:`of_columns`."""
        return cls.of_columns(_integers(one["image_id"] for one in results),
                              _integers(one["category_id"] for one in results),
                              _floats([one["bbox"] for one in results]).reshape(-1, 4),
                              _floats([one["score"] for one in results]), truth)

    @classmethod
    def of_columns(cls, image_id: np.ndarray, category_id: np.ndarray, boxes: np.ndarray, score: np.ndarray,
                   truth: Truth) -> Found:
        """From columns in any order; the first hundred of each image and class count, as in pycocotools.

        Args:
            boxes: [N, 4] of x, y, width, height.
        Raises:
            UserError: they are of other images than the truth's.
        """
        image, known = _places(truth.ids, image_id)
        label, named = _places(truth.categories, category_id)
        if not known.all():
            raise UserError(f"the detections are of other images than the annotations: {int((~known).sum())} of "
                            f"{len(known)} have an image_id that the annotations lack; give those of one evaluation")
        order = np.lexsort((-score, label, image))
        order = order[named[order]]
        order = order[_rank(image[order] * max(len(truth.names), 1) + label[order]) < MOST]
        order = order[np.lexsort((-score[order], image[order]))]
        return cls(image[order], label[order], boxes[order], score[order])


def read(annotations: str | Path, detections: str | Path) -> tuple[Truth, Found]:
    """Of a COCO annotation file and a bbox.json.

    Raises:
        UserError: see :meth:`Found.of_columns`.
    """
    truth = Truth.of(json.loads(Path(annotations).read_text(encoding="utf-8")))
    return truth, Found.of(json.loads(Path(detections).read_text(encoding="utf-8")), truth)


def _integers(values):
    return np.fromiter(values, np.int64)


def _floats(values):
    return np.array(values, np.float64)


def _places(known, values):
    """Of each value its place in the sorted ``known``, and whether it has one."""
    if not len(known):
        return np.zeros(len(values), np.int64), np.zeros(len(values), bool)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return places, known[places] == values


def _rank(groups):
    """Of each element its number, from 0, in its run of equal values."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))
