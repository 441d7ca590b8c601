# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Small pictures of an evaluation with their boxes: right ones, errors by kind, and what is missed."""
from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..deploy.deploy_error import DeployError
from ..deploy.image_files import read_image
from ..errors import printable
from . import error_kinds
from .error_kinds import CORRECT, ERRORS, IGNORED, MISSED, Errors, ImageScore
from .page import Picture, Words

log = logging.getLogger("ppdet.engine")
SIDE = 400  # pixels of a picture's longer side
QUALITY = 80  # of the JPEG
BOXES = 30  # in one picture
NAME = 40  # letters of a file's name
SIDES = ("x", "y", "width", "height")  # of a Box
#: kinds of boxes -> their colours
COLOURS = {CORRECT: "#2e9e4f", error_kinds.CLASSIFICATION: "#e08a00", error_kinds.LOCALISATION: "#2f6fd0",
           error_kinds.BOTH: "#8e44ad", error_kinds.DUPLICATE: "#00a0a8", error_kinds.BACKGROUND: "#d02f2f",
           MISSED: "#e6007e"}
KINDS: dict[int, Words] = {CORRECT: ("right", "正确"), **ERRORS}


@dataclass(frozen=True)
class Box:
    """A box in pixels of its picture, its colour and its words; what is missed has broken lines."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    text: str
    broken: bool


@dataclass(frozen=True)
class Thumbnail:
    """A small picture, its boxes, and what is said below it."""

    picture: Picture
    width: int
    height: int
    boxes: tuple[Box, ...]
    note: Words


def thumbnails(errors: Errors, scores: Iterable[ImageScore], paths: Mapping[int, str | Path]) -> list[Thumbnail]:
    """The pictures of some scores.

    Args:
        paths: {image id: its file}. One that is not there or cannot be read is left out, and the log says so.
    """
    found = []
    for score in scores:
        path = paths.get(int(errors.truth.ids[score.image]))
        if path is None:
            continue
        try:
            image = read_image(path)
        except DeployError as error:
            log.warning(f"report: a picture is left out: {error}")
            continue
        found.append(_thumbnail(errors, score, image))
    return found


def thumbnail(image: np.ndarray, name: str, boxes: Iterable[Box], note: Words) -> Thumbnail:
    """A picture made small.

    Args:
        image: RGB uint8 [h, w, 3].
        boxes: in pixels of ``image``.
    """
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image  # a browser enlarges
    content = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1]
    scaled = (dataclasses.replace(box, **{side: round(getattr(box, side) * scale, 1) for side in SIDES})
              for box in boxes)
    return Thumbnail(Picture(content.tobytes(), (name, "")), *size, tuple(scaled), note)


def _thumbnail(errors, score, image):
    name = printable(Path(errors.truth.files[score.image]).name, NAME)
    note = (f"{name}: {score.right} right, {score.wrong} wrong, {score.missing} not found",
            f"{name}：{score.right} 个正确，{score.wrong} 个错误，{score.missing} 个未找到")
    return thumbnail(image, name, _boxes(errors, score.image), note)


def _boxes(errors, image):
    """Errors first, so that they are among the first BOXES; drawn the other way round, they lie on top."""
    truth, found = errors.truth, errors.found
    missed = np.flatnonzero((truth.image == image) & (errors.object_kind == MISSED))
    shown = np.flatnonzero((found.image == image) & errors.shown & (errors.kind != IGNORED))
    shown = shown[np.argsort(errors.kind[shown] == CORRECT, kind="stable")]
    rows = [(truth.boxes[i], MISSED, truth.names[truth.label[i]]) for i in missed]
    rows += [(found.boxes[i], errors.kind[i], f"{truth.names[found.label[i]]} {found.score[i]:.2f}") for i in shown]
    return [Box(*map(float, box), COLOURS[int(kind)], printable(text, NAME), kind == MISSED)
            for box, kind, text in reversed(rows[:BOXES])]
