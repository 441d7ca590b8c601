# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What ppdet's Mosaic leaves to be mended: class numbers that are floats, and boxes of which nothing is in the picture.

``patches/ppdet.py`` says where the wrapper goes.
"""
from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

#: pixels; of an object that is cut off, less is no object
LEAST_SIDE = 1.0
KEYS = ("gt_bbox", "gt_class", "is_crowd", "difficult")  # those that Mosaic writes


def mend_mosaic(call: Callable) -> Callable:
    """For ``Mosaic.__call__``: whole numbers for classes, and no box of less than LEAST_SIDE."""
    @functools.wraps(call)
    def mended(self, sample, context=None):
        made = call(self, sample, context)
        # a picture that it has let pass still has its own whole numbers
        if not isinstance(made, dict) or made["gt_class"].dtype.kind != "f":
            return made
        sides = made["gt_bbox"][:, 2:] - made["gt_bbox"][:, :2]
        kept = (sides > LEAST_SIDE).all(1)
        made.update({key: made[key][kept] for key in KEYS if key in made})
        made["gt_class"] = made["gt_class"].astype(np.int32)
        return made
    return mended
