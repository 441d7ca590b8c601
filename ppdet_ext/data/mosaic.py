# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What ppdet's Mosaic leaves to be mended: what belongs to each box, and boxes of which nothing is in the picture.

Its classes become floats; ``difficult`` becomes ``is_crowd`` where there are both; other arrays keep the length of the
first picture. A box that the border of the four cuts to a line is turned into a box of some pixels.
``patches/ppdet.py`` says where the wrappers go.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from . import box_arrays
from .box_arrays import LEAST_SIDE


@box_arrays.of_several
def mend_mosaic(mosaic: Any, samples: Any, copies: Any, made: Any, rows: Any) -> Any:
    """For ``Mosaic.__call__``: each box keeps what belongs to it, and none has less than LEAST_SIDE."""
    if made["gt_class"].dtype.kind != "f":  # it has let the first picture pass
        return samples[0]
    sides = made["gt_bbox"][:, 2:] - made["gt_bbox"][:, :2]
    box_arrays.give_rows(made, rows, (sides > LEAST_SIDE).all(1))
    return made


def drop_lines(affine: Callable) -> Callable:
    """For ``Mosaic.random_affine_augment``: a box that has been cut to a line is not turned into one with an area."""
    @functools.wraps(affine)
    def without_lines(self, img: np.ndarray, labels: Any = (), **settings: Any) -> Any:
        if len(labels):
            labels = labels[(labels[:, 2:4] - labels[:, :2] > LEAST_SIDE).all(1)]
        return affine(self, img, labels, **settings)
    return without_lines
