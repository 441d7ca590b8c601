# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A split as COCO's JSON: what ppdet and pycocotools read, whatever layout it came from."""
from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.coco import DECIMALS
from ..deploy.image_files import upright_size
from ..deploy.image_formats import UnreadableImage
from ..errors import UserError
from ..files import atomic_path
from .picture_set import Box, Picture


def size_of(picture: Picture) -> tuple[int, int]:
    """(width, height) as the annotations say; where they do not, as the picture itself does.

    Raises:
        UserError: it is unreadable.
    """
    if picture.width and picture.height:
        return picture.width, picture.height
    try:
        return upright_size(picture.path)[:2]
    except UnreadableImage as error:
        raise UserError(f"image '{picture.path}' is unreadable: {error.reason}") from None


def content(names: Sequence[str], pictures: Sequence[Picture], folder: Path, evaluates: bool = False) -> dict[str, Any]:
    """The JSON's content; file names are relative to ``folder``.

    Args:
        evaluates: difficult objects, which are neither hit nor miss, become crowds, which are neither, too.

    Raises:
        UserError: a picture is unreadable, a box lies wholly outside its picture, or has a negative size.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures, 1):
        width, height = size_of(picture)
        images.append({"id": number, "file_name": os.path.relpath(picture.path, folder).replace(os.sep, "/"),
                       "width": width, "height": height})
        for box in picture.boxes:
            require_inside(box, width, height, picture.path)
            corner = [round(value, DECIMALS) for value in (box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1)]
            record = {"id": len(annotations) + 1, "image_id": number, "category_id": box.class_id, "bbox": corner,
                      "area": corner[2] * corner[3], "iscrowd": int(box.crowd or (evaluates and box.difficult))}
            annotations.append({**record, "difficult": 1} if box.difficult else record)
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    return {"images": images, "annotations": annotations, "categories": categories}


def require_inside(box: Box, width: int, height: int, picture: Path) -> None:
    """Raise UserError for a box that cannot be meant, as data.coco does; one without area is only left out later."""
    negative, area = box.x2 < box.x1 or box.y2 < box.y1, box.x2 > box.x1 and box.y2 > box.y1
    if negative or (area and (box.x1 >= width or box.y1 >= height or box.x2 <= 0 or box.y2 <= 0)):
        raise UserError(f"{box.where or picture}: the box [{box.x1:g}, {box.y1:g}, {box.x2:g}, {box.y2:g}] (two "
                        f"corners, in pixels) lies outside the {width}x{height} picture '{picture}', or has a negative "
                        "size")


def write(path: Path, values: dict[str, Any]) -> None:
    """Write the JSON; a file that says the same already stays as it is.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    if path.is_file() and path.read_bytes() == text.encode("utf-8"):
        return
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
