# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A quick look at image files before training: headers of a few dozen, spread over the data set."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError

logger = logging.getLogger("ppdet.engine")

SAMPLE = 64


def check_headers(paths: Sequence[str | Path], sizes: Sequence[tuple[float, float]]) -> None:
    """Read the headers of up to ``SAMPLE`` images, evenly spaced.

    Args:
        paths: image files.
        sizes: the (width, height) that the annotations give for each.

    Raises:
        UserError: one is not an image. Other sizes than annotated are only warned of (ppdet takes the real ones).
    """
    from PIL import Image, UnidentifiedImageError
    step = max(1, len(paths) // SAMPLE)
    others = []
    for path, size in list(zip(paths, sizes))[::step]:
        try:
            with Image.open(path) as image:
                found = image.size
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            reason = getattr(error, "strerror", None) or "broken, or not an image"
            raise UserError(f"image '{path}' is unreadable: {reason}") from None
        # a camera's turned picture (EXIF) is turned upright when it is read
        if tuple(map(int, size)) not in (found, found[::-1]):
            others.append(f"'{path}' is {found[0]}x{found[1]}, its annotation says {size[0]:g}x{size[1]:g}")
    if others:
        logger.warning("%d of %d images looked at have another size than annotated, so their boxes may be wrong; "
                       "first: %s", len(others), len(paths[::step]), others[0])
