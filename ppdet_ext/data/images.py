# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A quick look at image files before training: headers of a few dozen, spread over the data set."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ..deploy.image_files import image_header, read_image
from ..deploy.image_formats import UnreadableImage
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
    step = max(1, len(paths) // SAMPLE)
    others: list[str] = []
    deep = False
    for path, size in list(zip(paths, sizes))[::step]:
        try:
            width, height, bits = image_header(path)
            if bits > 8 and not deep:
                deep = bool(read_image(path).size)  # how its bits are taken is said here, not by each worker
        except UnreadableImage as error:
            raise UserError(f"image {str(path)!r} is unreadable: {error.reason}") from None
        # a camera's turned picture (EXIF) is turned upright when it is read
        if tuple(map(int, size)) not in ((width, height), (height, width)):
            others.append(f"'{path}' is {width}x{height}, its annotation says {size[0]:g}x{size[1]:g}")
    if others:
        logger.warning("%d of %d images looked at have another size than annotated, so their boxes may be wrong; "
                       "first: %s", len(others), len(paths[::step]), others[0])
