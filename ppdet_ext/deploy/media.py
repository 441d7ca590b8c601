# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pictures and videos in and out. What is written appears whole or not at all."""
from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .deploy_error import DeployError
from .whole_file import whole_file

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def find_images(image_file: str | Path | None = None, image_dir: str | Path | None = None) -> list[Path]:
    """Paths of one image, or of all images right inside a folder, sorted by name. ``image_file`` goes first.

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
    found = sorted(path for path in Path(image_dir).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DeployError(f"--image_dir: '{image_dir}' holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return found


def read_image(path: str | Path) -> np.ndarray:
    """RGB image [H, W, 3] uint8, turned as its EXIF tag says (as ppdet's Decode does it).

    Raises:
        DeployError: the file is missing or no readable image; names it.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DeployError(f"cannot read '{path}' ({error.strerror})") from None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise DeployError(f"cannot read '{path}' as an image; is it damaged?")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def target_of(source: str | Path, output_dir: str | Path, suffix: str = "") -> Path:
    """Where the result of ``source`` goes: the same name in ``output_dir``, with ``suffix`` after it.

    Raises:
        DeployError: that would be the source itself.
    """
    target = Path(output_dir) / (Path(source).name + suffix)
    if target.exists() and target.samefile(source):
        raise DeployError(f"the result would overwrite '{source}'; name another --output_dir")
    return target


def image_target_of(source: str | Path, output_dir: str | Path) -> Path:
    """``target_of`` a picture; ``photo`` becomes ``photo.png``: OpenCV reads any suffix, but writes those it knows."""
    return target_of(source, output_dir, "" if cv2.haveImageWriter(Path(source).name) else ".png")


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write an RGB image; the suffix says the format.

    Raises:
        DeployError: OpenCV cannot write it, or the folder cannot be written.
    """
    with whole_file(path) as temporary:
        try:
            encoded = cv2.imencode(temporary.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
        except cv2.error:  # a suffix that it does not know
            raise DeployError(f"cannot write '{path}': OpenCV has no format for it; name it .png or .jpg") from None
        temporary.write_bytes(encoded.tobytes())  # OpenCV's own writer does not say why it fails


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as JSON."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


class Video:
    """The frames of a file (path) or camera (number) as RGB arrays; ``fps``, ``size`` (width, height), ``count``.

    Raises:
        DeployError: it cannot be opened.
    """

    def __init__(self, source: str | Path | int):
        if not isinstance(source, int) and not Path(source).is_file():
            raise DeployError(f"--video_file: '{source}' is not a file")
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        if not self._capture.isOpened():
            raise DeployError(f"cannot open {'camera' if isinstance(source, int) else 'video'} '{source}'")
        # cameras and damaged headers say 0
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.size = tuple(int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while True:
                good, frame = self._capture.read()
                if not good:
                    return
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            self._capture.release()


@contextlib.contextmanager
def video_writer(path: str | Path, fps: float, size: tuple[int, int]) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield ``write(rgb_frame)``; ``size`` is (width, height). The codec is mp4v, as PaddleDetection's."""
    with whole_file(path) as temporary:
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*"mp4v"), fps, size)
        if not writer.isOpened():
            raise DeployError(f"cannot write video '{path}'; this OpenCV has no mp4v for that suffix: use .mp4")
        try:
            yield lambda frame: writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        finally:
            writer.release()
