# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What belongs to each box of a sample (class, crowd, difficult, ...) when pictures are put together or cut.

ppdet's transforms of several pictures each carry some of these arrays and leave others at the length of the first
picture. Here each box gets a number that travels as its class; whatever is left of the boxes finds its rows by it.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

#: arrays with a row for each box
PER_BOX = ("gt_class", "gt_score", "is_crowd", "difficult", "gt_track_id", "gt_ide")
#: what outlines or points a data set may give, which no transform that mixes or cuts here carries along
OUTLINES = ("gt_poly", "gt_segm", "gt_keypoint", "keypoint_ignore", "semantic")
#: pixels; of an object that is cut off, less is no object
LEAST_SIDE = 1.0
#: share of an object that is still to be seen; with less it counts as outside
VISIBLE = 0.2


def numbered(samples: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Samples whose ``gt_class`` [N, 1] holds the boxes' numbers, counted through all of them.

    Returns:
        (copies of the samples without their other arrays, {key: the rows of all boxes}).
    """
    rows = {key: np.concatenate([one[key] for one in samples]) for key in PER_BOX if all(key in one for one in samples)}
    ends = np.cumsum([len(one["gt_bbox"]) for one in samples])
    copies = []
    for one, end in zip(samples, ends):
        copy = {key: value for key, value in one.items() if key not in PER_BOX}
        copy["gt_class"] = np.arange(end - len(one["gt_bbox"]), end, dtype=np.int32).reshape(-1, 1)
        copies.append(copy)
    return copies, rows


def give_rows(sample: dict[str, Any], rows: Mapping[str, np.ndarray], kept: np.ndarray | slice = slice(None)) -> None:
    """Put the rows of :func:`numbered` in the place of the numbers in ``gt_class``; in place.

    Args:
        kept: which of the sample's boxes stay, bool [N].
    """
    numbers = sample["gt_class"].ravel().astype(int)[kept]
    sample["gt_bbox"] = sample["gt_bbox"][kept]
    sample.update({key: array[numbers] for key, array in rows.items()})


def of_several(finish: Callable[..., dict[str, Any]]) -> Callable[[Callable], Callable]:
    """A wrapper for ``__call__`` of a transform that makes one picture of several; a single one it leaves to ppdet.

    Args:
        finish: (transform, samples, their numbered copies, what ppdet made of these, rows) -> the sample.
    """
    @functools.wraps(finish)
    def mend(call: Callable) -> Callable:
        @functools.wraps(call)
        def mended(self, sample, context=None):
            if not isinstance(sample, Sequence):
                return call(self, sample, context)
            copies, rows = numbered(sample)
            return finish(self, sample, copies, call(self, copies, context), rows)
        return mended
    return mend


def cut(boxes: np.ndarray, window: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes cut to a window, and which of them are still to be seen.

    Args:
        boxes: corners [N, 4].
        window: (x1, y1, x2, y2).

    Returns:
        (corners [N, 4] within the window, bool [N]).
    """
    inside = np.clip(boxes, [window[0], window[1]] * 2, [window[2], window[3]] * 2)
    sides = inside[:, 2:] - inside[:, :2]
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return inside, (sides > LEAST_SIDE).all(1) & (np.prod(sides, axis=1) >= VISIBLE * areas)


def note_size(sample: dict[str, Any]) -> None:
    """Let ``h``, ``w`` and ``im_shape`` of a sample be those of its picture; in place."""
    height, width = sample["image"].shape[:2]
    sample["h"], sample["w"] = float(height), float(width)
    sample["im_shape"] = np.array([height, width], np.float32)
