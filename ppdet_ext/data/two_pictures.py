# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Mixup and Cutmix of ppdet, mended: what belongs to each box goes with it, and Cutmix's boxes are those to be seen.

ppdet's Cutmix keeps all boxes of both pictures: those that the patch covers, and those of the second picture that lie
outside of the patch. Random numbers are drawn as ppdet draws them. ``patches/ppdet.py`` says where the wrappers go.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from . import box_arrays


@box_arrays.of_several
def mend_mixup(mixup: Any, samples: Any, copies: Any, made: Any, rows: Any) -> Any:
    """For ``Mixup.__call__``: each box keeps what belongs to it, and the sample says its picture's size."""
    return _finish(made, rows)


@box_arrays.of_several
def mend_cutmix(cutmix: Any, samples: Any, copies: Any, made: Any, rows: Any) -> Any:
    """For ``Cutmix.__call__``: the same, and boxes are cut as their pictures are."""
    if any(made is copy for copy in copies):  # chance has let one picture pass
        return _finish(made, rows)
    made["gt_bbox"], kept = _seen(made["gt_bbox"], len(samples[0]["gt_bbox"]), cutmix.patch)
    made["image"] = made["image"].astype(samples[0]["image"].dtype, copy=False)
    return _finish(made, rows, kept)


def note_patch(apply_image: Callable) -> Callable:
    """In place of ``Cutmix.apply_image``: the same pixels; ``patch`` says where the second picture is."""
    def pasted(self, img1: np.ndarray, img2: np.ndarray, factor: float) -> np.ndarray:
        height, width = (max(img1.shape[axis], img2.shape[axis]) for axis in (0, 1))
        share = np.sqrt(1.0 - factor)
        half_width, half_height = np.int32(width * share) // 2, np.int32(height * share) // 2
        x, y = np.random.randint(width), np.random.randint(height)
        left, right = np.clip([x - half_width, x + half_width], 0, width - 1)
        top, bottom = np.clip([y - half_height, y + half_height], 0, height - 1)
        self.patch = left, top, right, bottom
        pictures = []
        for image in (img1, img2):
            pictures.append(np.zeros((height, width, img1.shape[2]), "float32"))
            pictures[-1][:image.shape[0], :image.shape[1]] = image
        pictures[0][top:bottom, left:right] = pictures[1][top:bottom, left:right]
        return pictures[0]
    return functools.wraps(apply_image)(pasted)


def _seen(boxes, first, patch):
    """Boxes [N, 4] of both pictures after the cut, and which are to be seen; ``first`` of them are the first's."""
    inside, seen = box_arrays.cut(boxes, patch)
    covered = np.prod(np.maximum(inside[:, 2:] - inside[:, :2], 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    of_first = np.arange(len(boxes)) < first
    return (np.where(of_first[:, None], boxes, inside).astype(boxes.dtype),
            np.where(of_first, areas - covered >= box_arrays.VISIBLE * areas, seen))


def _finish(made, rows, kept=slice(None)):
    """``gt_score``, which both transforms make, is no row of the pictures' own."""
    scores = made["gt_score"][kept] if "gt_score" in made else None
    box_arrays.give_rows(made, rows, kept)
    if scores is not None:
        made["gt_score"] = scores
    box_arrays.note_size(made)
    return made
