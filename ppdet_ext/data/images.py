# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A quick look at image files before training: headers of a few dozen, spread over the data set."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ..deploy.image_files import FIRST_LYING, image_header, read_image, upright_size
from ..deploy.image_formats import UnreadableImage
from ..errors import UserError

logger = logging.getLogger("ppdet.engine")

SAMPLE = 64
# with more than this share of exchanged sizes, the set is wrong, and not a picture of it
FEW = 0.1
# how a written size can differ from that of the upright picture -> what is said
DIFFERENCES = {
    "turned": "are turned upright by their EXIF orientation, but their annotations give the size before that, so boxes "
              "would lie beside their objects; take the orientation out of the files (exiftool -Orientation= FOLDER), "
              "or write sizes and boxes of the upright pictures",
    "exchanged": "have width and height exchanged in their annotations, so boxes would be cut; exchange the two there",
    "other": "have another size than annotated, so their boxes may be wrong"}


def difference(written: tuple[int, ...], upright: tuple[int, ...], orientation: int) -> str:
    """How an annotated (width, height) differs from that of the upright picture: a key of ``DIFFERENCES``."""
    if written != upright[::-1]:
        return "other"
    return "turned" if orientation >= FIRST_LYING else "exchanged"


def check_headers(paths: Sequence[str | Path], sizes: Sequence[tuple[float, float]]) -> None:
    """Read the headers of up to ``SAMPLE`` images, evenly spaced.

    Args:
        paths: image files.
        sizes: the (width, height) that the annotations give for each.

    Raises:
        UserError: one is not an image, or the sides of more than ``FEW`` of them are exchanged. Other sizes than
            annotated are only warned of (ppdet takes the real ones).
    """
    step = max(1, len(paths) // SAMPLE)
    found: dict[str, list[str]] = {kind: [] for kind in DIFFERENCES}
    hidden: list[str] = []
    deep = False
    for path, size in list(zip(paths, sizes))[::step]:
        try:
            width, height, orientation = upright_size(path)
            if not deep and image_header(path)[2] > 8:
                deep = bool(read_image(path).size)  # how its bits are taken is said here, not by each worker
        except UnreadableImage as error:
            raise UserError(f"image {str(path)!r} is unreadable: {error.reason}") from None
        written = tuple(map(int, size))
        if written != (width, height):
            found[difference(written, (width, height), orientation)].append(
                f"'{path}' is {width}x{height}, its annotation says {size[0]:g}x{size[1]:g}")
        elif orientation > 1 and (orientation < FIRST_LYING or width == height):
            hidden.append(str(path))
    _tell(found, len(paths[::step]))
    if hidden:
        logger.info("%d of %d images looked at have an EXIF orientation that does not show in their size; they are "
                    "turned upright, and boxes count as drawn on the upright picture; first: %r", len(hidden),
                    len(paths[::step]), hidden[0])


def _tell(found, looked_at):
    for kind, examples in found.items():
        if not examples:
            continue
        text = f"{len(examples)} of {looked_at} images looked at {DIFFERENCES[kind]}; first: {examples[0]}"
        if kind != "other" and len(examples) > FEW * looked_at:
            raise UserError(text)
        logger.warning(text)
