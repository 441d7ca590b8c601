# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Large-scale jitter: a picture is made much smaller or larger, and a square of it is what remains.

ppdet's RandomScaledCrop is that, but fails on every picture: a misspelt key, and sizes that are no whole numbers.
``patches/ppdet.py`` says where the function goes.
"""
from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np

from . import box_arrays

FILL = 114  # grey level of what lies outside of the picture, as in Mosaic


def jitter_scale(apply: Callable) -> Callable:
    """In place of ``RandomScaledCrop.apply``.

    The longer side becomes ``target_dim`` times a number of ``scale_range``; what reaches beyond a square of
    ``target_dim`` is cut off at random, but with the middle of one object inside; what is missing is grey. Boxes of
    which less than VISIBLE remains go.
    """
    def jittered(self, sample, context=None):
        height, width = sample["image"].shape[:2]
        scale = self.target_dim * np.random.uniform(*self.scale_range) / max(height, width)
        size = np.maximum([round(width * scale), round(height * scale)], 1)
        boxes = sample.get("gt_bbox", np.zeros((0, 4), np.float32)) * np.tile(size / (width, height), 2)
        shown = boxes[np.random.randint(len(boxes))].reshape(2, 2).mean(0) if len(boxes) else None
        corner = _corner(size, self.target_dim, shown)
        inside, kept = box_arrays.cut(boxes, [*corner, *(corner + self.target_dim)])
        sample["image"] = _square(sample["image"], size, corner, self.target_dim, self.interp)
        if "gt_bbox" in sample:
            moved = (inside - np.tile(corner, 2)).astype(sample["gt_bbox"].dtype)
            sample.update({key: sample[key][kept] for key in box_arrays.PER_BOX if key in sample}, gt_bbox=moved[kept])
        box_arrays.note_size(sample)
        return sample
    return functools.wraps(apply)(jittered)


def _corner(size, side, shown):
    """Where in the scaled picture the square begins, int [2] (x, y); below 0 where the square is larger.

    ``shown``: a point (x, y) that lies in it, or None.
    """
    least, most = np.minimum(size - side, 0), np.maximum(size - side, 0)
    if shown is not None:
        least = np.maximum(least, np.minimum(np.ceil(shown - side), most))
        most = np.minimum(most, np.maximum(np.floor(shown), least))
    return np.array([np.random.randint(low, high + 1) for low, high in zip(least.astype(int), most.astype(int))])


def _square(image, size, corner, side, interp):
    shrinks = size[0] < image.shape[1]
    scaled = cv2.resize(image, size.tolist(), interpolation=cv2.INTER_AREA if shrinks else interp)
    first, last = np.maximum(corner, 0), np.minimum(corner + side, size)
    left, top = first - corner
    square = np.full((side, side, image.shape[2]), FILL, image.dtype)
    part = scaled[first[1]:last[1], first[0]:last[0]]
    square[top:top + part.shape[0], left:left + part.shape[1]] = part
    return square
