# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Videos in and out: files, cameras and streams. No frame vanishes: what is written is counted again."""
from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np

from .deploy_error import DeployError
from .file_names import safe_name
from .image_files import format_of
from .media import target_of
from .whole_file import whole_file

#: what --video_file may be beside a file
SCHEMES = ("http", "https", "rtsp")
# the containers that OpenCV writes with mp4v and reads again
_WRITTEN = (".3gp", ".asf", ".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".vob",
            ".wmv")
# damaged headers and streams say 0 or 90,000
_MOST_FPS, _USUAL_FPS = 1000, 25.0


class Video:
    """The frames of a file (path), stream (address) or camera (number) as RGB arrays [H, W, 3]; they are read once.

    ``fps``, ``size`` (width, height of the first frame), ``count`` (frames by the header; 0: unknown).

    Raises:
        DeployError: it cannot be opened, or has no frame.
    """

    def __init__(self, source: str | Path | int):
        self._capture = _opened(source)
        good, self._first = self._capture.read()
        if not good:
            raise DeployError(f"no frame could be read from {_named(source)}")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= _MOST_FPS else _USUAL_FPS
        self.count = int(max(0.0, self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.size = self._first.shape[1], self._first.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        good, frame = True, self._first
        try:
            while good:
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                good, frame = self._capture.read()
        finally:
            self._capture.release()

    def many_missing(self, seen: int) -> bool:
        """Whether a video that ended after ``seen`` frames lacks so many that its header is hardly just inexact.

        Some containers tell their length only: a sound that is longer than the picture gives a few frames too many.
        """
        return self.count - seen > min(self.fps, 0.05 * self.count)


def _opened(source):
    scheme = _scheme(source)
    if scheme and scheme not in SCHEMES:
        raise DeployError(f"--video_file: addresses of '{scheme}:' are not opened; give a file, or an address of "
                          f"{', '.join(SCHEMES)}")
    if not scheme and not isinstance(source, int):
        _require_video_file(source)
    capture = cv2.VideoCapture(source) if isinstance(source, int) else _open_file(source)
    if not capture.isOpened():
        raise DeployError(f"cannot open camera '{source}'" if isinstance(source, int) else
                          f"cannot open video {_named(source)}: it is not there, no video, cut off, or of a kind that "
                          "this OpenCV does not read")
    return capture


def _open_file(source):
    """By OpenCV's own order without the reader of numbered pictures: it prints what it is given, passwords too."""
    capture = cv2.VideoCapture()
    for backend in cv2.videoio_registry.getStreamBackends():
        if backend != cv2.CAP_IMAGES and not capture.isOpened():
            capture.open(str(source), backend)
    return capture


def _require_video_file(path):
    """OpenCV's videos are opened by whatever knows the file, also by the decoders that no picture may reach."""
    if not Path(path).is_file():
        raise DeployError(f"--video_file: '{path}' is not a file")
    kind = format_of(path)
    if kind and kind.pillow and kind.name != "GIF":
        raise DeployError(f"--video_file: '{path}' is a picture ({kind.name}); use --image_file")


def _scheme(source):
    found = re.match(r"([a-z][a-z0-9+.-]+)://", str(source), re.IGNORECASE)
    return found[1].lower() if found and not isinstance(source, int) else ""


def _named(source):
    """In quotes; of an address without what may be secret: all before an @, and the query."""
    if not _scheme(source):
        return f"'{source}'"
    start, _, rest = str(source).partition("://")
    path, query, _ = re.sub("^.*@", "***@", rest, flags=re.DOTALL).partition("?")
    return f"'{start}://{path}{'?***' if query else ''}'"


def name_of(source: str | Path | int) -> str:
    """What a file or stream is called in results: the last part of its path; of a camera ``camera N``."""
    if isinstance(source, int):
        return f"camera {source}"
    return safe_name(unquote(urlsplit(str(source)).path).rpartition("/")[2]) if _scheme(source) else Path(source).name


def video_target(source: str | Path | int, output_dir: str | Path) -> Path:
    """Where the video with boxes goes: the source's own name in ``output_dir``; ``output.mp4`` for a camera.

    A suffix that OpenCV cannot write with mp4v, as .webm, gets ``.mp4`` after it.

    Raises:
        DeployError: that would be the source itself.
    """
    name = "output" if isinstance(source, int) else name_of(source)
    target = Path(output_dir) / (name if Path(name).suffix.lower() in _WRITTEN else f"{name}.mp4")
    return target if isinstance(source, int) or _scheme(source) else target_of(source, output_dir, target.name)


@contextlib.contextmanager
def video_writer(path: str | Path, fps: float, size: tuple[int, int], tell: Callable[[str], None] = print
                 ) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield ``write(rgb_frame)``; ``size`` is (width, height). The codec is mp4v, as PaddleDetection's.

    OpenCV drops frames of another size without a word: they are scaled into the video's, with black beside them, and
    ``tell`` is given a line at the first of them. mp4v has even sides only: odd ones grow by a pixel.

    Raises:
        DeployError: the video cannot be written, or not all frames are in it afterwards.
    """
    with whole_file(path) as temporary:
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*"mp4v"), fps,
                                 tuple(side + side % 2 for side in size))
        if not writer.isOpened():
            raise DeployError(f"cannot write video '{path}': this OpenCV has no mp4v for that suffix, or the "
                              "disk is full")
        count, other_sizes = 0, False

        def write(frame: np.ndarray) -> None:
            nonlocal count, other_sizes
            count += 1
            if frame.shape[1::-1] != tuple(size) and not other_sizes:
                other_sizes = True
                tell(f"frame {count} is {frame.shape[1]}x{frame.shape[0]}, the video {size[0]}x{size[1]}: frames of "
                     "another size are scaled into it (their boxes are in their own pixels)")
            writer.write(cv2.cvtColor(_fitted(frame, size), cv2.COLOR_RGB2BGR))

        try:
            yield write
        finally:
            writer.release()
        _require_all(temporary, path, count)


def _fitted(frame, size):
    """``frame`` in the middle of a picture of ``size`` (width, height), whose sides are then made even."""
    width, height = size
    if frame.shape[1::-1] != (width, height):
        scale = min(width / frame.shape[1], height / frame.shape[0])
        small = cv2.resize(frame, tuple(max(1, round(side * scale)) for side in frame.shape[1::-1]),
                           interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        frame = np.zeros((height, width, 3), np.uint8)
        top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
        frame[top:top + small.shape[0], left:left + small.shape[1]] = small
    return cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)


def _require_all(written, path, count):
    """OpenCV's writer never says that it failed, on a full disk for example."""
    capture, found = _open_file(written), 0
    while found < count and capture.grab():
        found += 1
    capture.release()
    if found < count:
        raise DeployError(f"cannot write video '{path}': {found} of {count} frames are in it afterwards; is the disk "
                          "full? free some space, or name another --output_dir; what was there before is kept")
