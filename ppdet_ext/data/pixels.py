# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The pixels that ppdet's transforms make, in less time: one pass of OpenCV where they take several of NumPy.

Random numbers are drawn as ppdet draws them, so a seed gives the same boxes and crops. What differs:

- RandomDistort multiplies its steps into one colour matrix, in float32. ppdet's own goes on in float64 after a change
  of hue, and so does the resize after it. Apart by rounding only: DISTORT_TOLERANCE grey levels.
- NormalizeImage is exact for uint8 pixels, and within NORMALIZE_TOLERANCE (in units of the network) for others.
- Pad (which RandomExpand uses) and RandomFlip are exact.

``patches/ppdet.py`` says where each goes; docs/startup_and_loading.md says what each costs.
"""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from ppdet.data.transform.operators import RandomDistort

from . import normalization

DISTORT_TOLERANCE = 2e-3
NORMALIZE_TOLERANCE = 2e-6

# RGB -> YIQ and back, as ppdet rounds them
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
_FROM_YIQ = np.array([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.107, 1.705]])
_GREY = _TO_YIQ[0]


def _hue(delta):
    cos, sin = np.cos(delta * np.pi), np.sin(delta * np.pi)
    return _FROM_YIQ @ np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]]) @ _TO_YIQ, 0.0


# setting of RandomDistort -> its step: amount -> (matrix [3, 3], offset), which make RGB x into matrix @ x + offset
STEPS = {
    "brightness": lambda delta: (np.eye(3), delta),
    "contrast": lambda delta: (np.eye(3) * delta, 0.0),
    "saturation": lambda delta: (np.eye(3) * delta + (1.0 - delta) * _GREY, 0.0),
    "hue": _hue,
}


def _draw(settings):
    """The step's amount, None where chance leaves it out (ppdet's third number is the chance to do so)."""
    low, high, left_out = settings
    return None if np.random.uniform(0.0, 1.0) < left_out else np.random.uniform(low, high)


def colour_matrix(distort: Any) -> np.ndarray | None:
    """Draw what a RandomDistort with ``random_apply`` does.

    Returns:
        float64 [3, 4], matrix and offset on RGB; None where no step is taken.
    """
    total = None
    for place in np.random.permutation(len(STEPS))[:distort.count]:
        name = list(STEPS)[place]
        amount = _draw(getattr(distort, name))
        if amount is not None:
            matrix, offset = STEPS[name](amount)
            total = matrix @ (np.eye(3, 4) if total is None else total)
            total[:, 3] += offset
    return total


def distort_at_once(apply: Callable) -> Callable:
    """For ``RandomDistort.apply``. Subclasses with steps of their own, and the fixed order, are left to ppdet.

    So is develop's RandomDistort: it has its chance to act at all (prob) inside ``apply``, which would be lost.
    """
    if "prob" in inspect.signature(inspect.unwrap(RandomDistort.__init__)).parameters:
        return apply

    def steps(owner):
        return [getattr(owner, f"apply_{name}") for name in STEPS]

    known = steps(RandomDistort)

    @functools.wraps(apply)
    def distort(self, sample, context=None):
        if not self.random_apply or not _is_rgb(sample["image"]) or steps(type(self)) != known:
            return apply(self, sample, context)
        matrix = colour_matrix(self)
        if matrix is not None:
            sample["image"] = cv2.transform(sample["image"].astype(np.float32, copy=False), matrix)
        return sample
    return distort


def normalize_at_once(apply: Callable) -> Callable:
    """For ``NormalizeImage.apply``. A table for uint8 pixels, filled by ppdet's own arithmetic; else one matrix."""
    @functools.wraps(apply)
    def normalise(self, sample, context=None):
        image = sample["image"]
        if "pre_image" in sample or not _is_rgb(image):
            return apply(self, sample, context)
        if image.dtype == np.uint8:
            levels = np.arange(256, dtype=np.uint8).reshape(256, 1, 1).repeat(3, axis=2)
            sample["image"] = cv2.LUT(image, apply(self, {"image": levels})["image"])
        else:
            factor, offset = normalization.affine(vars(self))
            matrix = np.column_stack([np.diag(factor), offset])
            sample["image"] = cv2.transform(image.astype(np.float32, copy=False), matrix)
        return sample
    return normalise


def pad_at_once(apply_image: Callable) -> Callable:
    """For ``Pad.apply_image``: only the border is filled."""
    @functools.wraps(apply_image)
    def pad(self, image, offsets, im_size, size):
        if not _is_rgb(image):
            return apply_image(self, image, offsets, im_size, size)
        (left, top), (height, width) = offsets, im_size
        fill = np.broadcast_to(np.array(self.fill_value, np.float64), 3)
        return cv2.copyMakeBorder(image.astype(np.float32, copy=False), top, size[0] - top - height, left,
                                  size[1] - left - width, cv2.BORDER_CONSTANT, value=fill.tolist())
    return pad


def flip_at_once(apply_image: Callable) -> Callable:
    """For ``RandomFlip.apply_image``: a copy now, where ppdet's view back to front makes the resize copy pixel-wise."""
    @functools.wraps(apply_image)
    def flip(self, image):
        return cv2.flip(image, 1) if _is_rgb(image) else apply_image(self, image)
    return flip


def _is_rgb(image):
    return isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3
