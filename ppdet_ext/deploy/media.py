# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pictures in and out. What is written appears whole or not at all."""
from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .deploy_error import DeployError
from .file_names import distinct_names
from .image_files import read_image as read_image  # who reads pictures finds it here
from .image_formats import IMAGE_SUFFIXES, PictureError
from .whole_file import whole_file

# OpenCV knows these, but cannot write small pictures as such
_SELDOM_WRITTEN = (".jp2", ".j2k")


def find_images(image_file: str | Path | None = None, image_dir: str | Path | None = None,
                tell: Callable[[str], None] = print) -> list[Path]:
    """Paths of one image, or of all images right inside a folder, sorted by name. ``image_file`` goes first.

    ``tell`` is given a line about what is left out of the folder.

    Raises:
        DeployError: nothing is given, it does not exist, or the folder holds no image.
    """
    if image_file:
        if not Path(image_file).is_file():
            raise DeployError(f"--image_file: '{image_file}' is not a file")
        return [Path(image_file)]
    if not image_dir:
        raise DeployError("nothing to detect on: give --image_file, --image_dir, --video_file or --camera_id")
    if not Path(image_dir).is_dir():
        raise DeployError(f"--image_dir: '{image_dir}' is not a folder")
    found = images_in(image_dir, tell)
    if not found:
        raise DeployError(f"--image_dir: '{image_dir}' holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return found


def images_in(folder: str | Path, tell: Callable[[str], None] = print) -> list[Path]:
    """The files right inside a folder whose names end as an image's, sorted; ``tell`` is given what is left out."""
    found, others = [], []
    for path in sorted(Path(folder).iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            if path.is_file():
                found.append(path)
            else:
                tell(f"left out: {str(path)!r} (a folder, a pipe, a device or a broken link, not a file)")
        elif path.is_file() and not path.name.startswith("."):
            others.append(path.suffix.lower())
    if others:
        tell(f"left out: {len(others)} of the files in {str(folder)!r}, by their names no pictures that are read "
             f"({', '.join(sorted(repr(suffix) if suffix else 'no suffix' for suffix in set(others)))})")
    return found


def target_of(source: str | Path, output_dir: str | Path, name: str) -> Path:
    """Where the result of ``source`` goes: ``name`` in ``output_dir``.

    Raises:
        DeployError: that would be the source itself.
    """
    target = Path(output_dir) / name
    _require_others([target], [source])
    return target


def image_targets(sources: Sequence[str | Path], output_dir: str | Path) -> list[Path]:
    """Where the pictures with boxes go: the sources' own names in ``output_dir``, each of them once.

    ``photo`` becomes ``photo.png``: OpenCV writes only suffixes that it knows. Of two pictures of one name, from two
    folders, the second becomes ``photo (2).png``.

    Raises:
        DeployError: a picture would be written over one of the sources.
    """
    names = [Path(source).name for source in sources]
    names = [name if cv2.haveImageWriter(name) and not name.lower().endswith(_SELDOM_WRITTEN) else f"{name}.png"
             for name in names]
    return targets_of(sources, output_dir, names)


def targets_of(sources: Sequence[str | Path], output_dir: str | Path, names: Sequence[str]) -> list[Path]:
    """The names in ``output_dir``, each of them once: the second ``photo.png`` becomes ``photo (2).png``.

    Raises:
        DeployError: one of the sources would be written over.
    """
    targets = [Path(output_dir) / name for name in distinct_names(names)]
    _require_others(targets, sources)
    return targets


def _require_others(targets, sources):
    places = {os.stat(source)[1:3]: source for source in sources if os.path.exists(source)}  # number and device
    for target in targets:
        if target.exists() and os.stat(target)[1:3] in places:
            raise DeployError(f"the result would overwrite '{places[os.stat(target)[1:3]]}'; name another --output_dir")


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write an RGB image; the suffix says the format.

    Raises:
        PictureError: OpenCV cannot write it.
        DeployError: the folder cannot be written.
    """
    with whole_file(path) as temporary:
        try:
            written, encoded = cv2.imencode(temporary.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        except cv2.error:  # a suffix that it does not know
            written, encoded = False, np.empty(0)
        if not written:
            raise PictureError(f"cannot write '{path}': OpenCV has no format for it, or the picture is too large for "
                               "the format; name it .png or .jpg")
        temporary.write_bytes(encoded.tobytes())  # OpenCV's own writer does not say why it fails


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as JSON."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
