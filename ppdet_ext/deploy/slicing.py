# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Sliced inference: overlapping windows detected one by one, for objects small against the picture.

The idea is SAHI's (Akyon et al. 2022, arXiv:2202.06934); the flags are PaddleDetection's.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import media
from .deploy_error import DeployError
from .image_formats import PictureError

#: slices of one picture; more are a mistaken --slice_size or --overlap_ratio
MAX_SLICES = 10_000


def detect(predictor: Any, picture: str | Path | np.ndarray, args: Any,
           on_unreadable: Callable[[Any, DeployError], None] | None = None) -> np.ndarray | None:
    """Merged boxes [N, 6] of one picture, None where it cannot be read (without ``on_unreadable`` that is raised).

    ``picture`` is a path, or RGB [H, W, 3].

    ``predictor`` is a Predictor, or anything with its ``predict(list of arrays)``. Of ``args`` it uses
    ``slice_size`` (w, h), ``overlap_ratio`` (x, y), ``combine_method``, ``match_threshold``, ``match_metric``.
    """
    try:
        image = picture if isinstance(picture, np.ndarray) else media.read_image(picture)
        corners = windows(image.shape[:2], args.slice_size, args.overlap_ratio)
        results = predictor.predict([image[y1:y2, x1:x2] for x1, y1, x2, y2 in corners])
    except PictureError as error:
        if on_unreadable is None:
            raise
        on_unreadable(picture, error)
        return None
    boxes = np.concatenate([result["boxes"] + np.array([0, 0, x1, y1, x1, y1], np.float32)
                            for result, (x1, y1, _, _) in zip(results, corners)])
    return boxes if args.combine_method == "concat" else nms(boxes, args.match_threshold, args.match_metric)


def windows(shape: Sequence[int], size: Sequence[int], overlap: Sequence[float]) -> list[tuple[int, int, int, int]]:
    """Windows (x1, y1, x2, y2) of ``size`` (w, h) that cover a picture of ``shape`` (h, w); the last move inwards."""
    for ratio in overlap:
        if not 0 <= ratio < 1:
            raise DeployError(f"--overlap_ratio must be at least 0 and below 1, not {ratio}")
    if min(size) < 1:
        raise DeployError(f"--slice_size must be at least 1, not {min(size)}")
    columns, rows = (_starts(length, step, ratio) for length, step, ratio in zip(shape[::-1], size, overlap))
    if len(columns) * len(rows) > MAX_SLICES:
        raise DeployError(f"--slice_size {size[0]} {size[1]} cuts a picture of {shape[1]}x{shape[0]} into "
                          f"{len(columns) * len(rows)} slices, more than {MAX_SLICES}; give a larger --slice_size or a "
                          "smaller --overlap_ratio")
    width, height = min(size[0], shape[1]), min(size[1], shape[0])
    return [(x, y, x + width, y + height) for y in rows for x in columns]


def _starts(length, size, overlap):
    if length <= size:
        return [0]
    step = max(1, int(size * (1 - overlap)))
    return [*range(0, length - size, step), length - size]


def nms(boxes: np.ndarray, threshold: float, metric: str = "ios") -> np.ndarray:
    """Per class, drop a box that overlaps a better one by ``threshold`` or more (iou, or ios: over the smaller)."""
    boxes = boxes[np.argsort(-boxes[:, 1], kind="stable")]
    areas = (boxes[:, 4] - boxes[:, 2]) * (boxes[:, 5] - boxes[:, 3])
    alive = np.ones(len(boxes), bool)
    for best in range(len(boxes)):
        if not alive[best]:
            continue
        low = np.maximum(boxes[best, 2:4], boxes[best + 1:, 2:4])
        high = np.minimum(boxes[best, 4:6], boxes[best + 1:, 4:6])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        whole = (np.minimum(areas[best], areas[best + 1:]) if metric == "ios"
                 else areas[best] + areas[best + 1:] - shared)
        same = boxes[best + 1:, 0] == boxes[best, 0]
        alive[best + 1:] &= ~(same & (shared >= threshold * np.maximum(whole, 1e-9)))
    return boxes[alive]
