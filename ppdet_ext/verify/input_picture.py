# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The picture that a backbone is looked at with, normalised as its readers or its weights say."""
from __future__ import annotations

import cv2
import numpy as np

from ..data import digit_pictures, normalization
from ..deploy import DeployError, media
from ..errors import UserError
from .backbone_subject import Subject

PHOTOGRAPH = ("skimage", "data/coffee.png")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def prepared(subject: Subject, picture: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(float32 [1, 3, H, W] for the network, uint8 RGB [H, W, 3] to show), of the subject's size.

    Raises:
        UserError: the picture cannot be read.
    """
    try:
        pixels = media.read_image(picture) if picture else digit_pictures.photograph(*PHOTOGRAPH)
    except DeployError as error:
        raise UserError(f"--image: {error}") from error
    height, width = subject.size
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    mean, std = (np.asarray(values, np.float32) for values in _normalisation(subject))
    image = (pixels.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None]), pixels


def _normalisation(subject):
    known = subject.normalisation or IMAGENET
    if subject.cfg is None:
        return known
    try:
        return normalization.used(subject.cfg, "TestReader") or known
    except (UserError, ValueError):  # from_weights is not filled in yet
        return known
