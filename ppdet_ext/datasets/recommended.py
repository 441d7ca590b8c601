# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The input size and the number of queries that fit the objects of a data set: rules of thumb, with their reason."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .check_kinds import Words

#: of ten objects nine are to have at least so many pixels (the root of their area) at the detector's input: RT-DETR's
#: finest map has a cell for each 8 x 8 pixels, so that such an object covers more than one
SMALL_SHARE, LEAST_PIXELS = 0.1, 12
SIDES = (256, 1280)  # of square inputs
STRIDE = 32
#: enlarging pictures further than that shows nothing new
MOST_ENLARGED = 2.0
#: queries for each object of the fullest picture
PER_OBJECT = 2
QUERIES = (100, 900)
STEP = 50


class Recommended(NamedTuple):
    """A number, and why."""

    value: int
    text: Words


def input_size(boxes: np.ndarray, of_boxes: np.ndarray, pictures: np.ndarray) -> Recommended | None:
    """The side of a square input; None without boxes.

    Args:
        boxes: [N, 4], corners in pixels.
        of_boxes: [N, 2], width and height of each box's picture.
        pictures: [n, 2], width and height of all pictures.
    """
    if not len(boxes):
        return None
    share = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], 1) / np.prod(of_boxes, 1))
    small = max(float(np.quantile(share, SMALL_SHARE)), 1e-6)
    longest = float(np.nanmedian(pictures.max(1)))
    wanted = LEAST_PIXELS / small
    bound = min(SIDES[1], MOST_ENLARGED * longest)
    side = int(np.clip(np.ceil(min(wanted, bound) / STRIDE) * STRIDE, *SIDES))
    pixels = small * side
    text = (f"at {side} x {side} nine of ten objects have at least {pixels:.0f} x {pixels:.0f} pixels",
            f"输入 {side} x {side} 时九成目标不小于 {pixels:.0f} x {pixels:.0f} 像素")
    if wanted > side:
        text = (f"{text[0]}; that is little: cut the pictures into slices (--slice_infer, and for training, too)",
                f"{text[1]}；仍偏小：请把图片切片 (--slice_infer，训练亦然)")
    return Recommended(side, text)


def num_queries(objects: np.ndarray) -> Recommended | None:
    """Queries for pictures with so many objects each ([n]); None without objects."""
    most = int(objects.max(initial=0))
    if not most:
        return None
    wanted = -(-PER_OBJECT * most // STEP) * STEP
    queries = int(np.clip(wanted, *QUERIES))
    text = (f"objects of the fullest picture: {most:,}", f"目标最多的图片有 {most:,} 个")
    if PER_OBJECT * most > queries:
        text = (f"{text[0]}: cut such pictures into smaller ones", f"{text[1]}：请把这类图片切小")
    return Recommended(queries, text)
