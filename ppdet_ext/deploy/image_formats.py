# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Kinds of image files: their first bytes, their size by the header alone, and how large a picture may be."""
from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .deploy_error import DeployError

#: the environment variable that sets the most pixels of a picture, and what holds without it
LIMIT = "PPDET_EXT_MAX_PIXELS"
MAX_PIXELS = 1 << 27
# pieces of a header, and scans of a progressive JPEG: no camera writes as many, and each costs time
_MAX_PIECES, _MAX_SCANS = 20_000, 100
# bytes of a file beside its pixels: metadata, a short film after a photograph
_EXTRA_BYTES = 1 << 26


class PictureError(DeployError):
    """One picture's fault: a run over many goes on with the next."""


class UnreadableImage(PictureError):
    """A file that is no picture, or none that is read.

    Args:
        path: the file.
        reason: why, without the file's name.
    """

    def __init__(self, path: object, reason: str):
        super().__init__(f"cannot read {str(path)!r} ({reason})")
        self.reason = reason


@dataclass(frozen=True)
class Format:
    """A kind of image file.

    Args:
        name: as people call it.
        start: how such a file begins.
        suffixes: what its names end in.
        size: for OpenCV's kinds: file -> (width, height, bits per channel); reads the header only.
        pillow: for the others: Pillow's name of it.
    """

    name: str
    start: re.Pattern
    suffixes: tuple[str, ...]
    size: Callable[[BinaryIO], tuple[int, int, int]] | None = None
    pillow: str = ""


def max_pixels() -> int:
    """The most pixels that a picture may have, before it is decoded or after it is resized.

    Raises:
        DeployError: the environment variable is no positive whole number.
    """
    text = os.environ.get(LIMIT) or str(MAX_PIXELS)
    try:
        limit = int(text)
    except ValueError:
        limit = 0
    if limit < 1:
        raise DeployError(f"{LIMIT} is {text[:40]!r}; it must be a whole number of pixels, such as {MAX_PIXELS}")
    return limit


def recognise(head: bytes) -> Format | None:
    """Which kind of image begins with these bytes (32 are enough); None for another file."""
    return next((kind for kind in FORMATS if kind.start.match(head)), None)


def require_size(width: int, height: int, name: object) -> None:
    """Raise UnreadableImage where a picture has no pixels, or too many."""
    if width < 1 or height < 1:
        raise UnreadableImage(name, f"broken: {width}x{height} pixels")
    if width * height > max_pixels():
        raise UnreadableImage(name, f"{width}x{height} are more pixels than the {max_pixels()} allowed; {LIMIT} "
                              "changes that")


def require_good_header(kind: Format, file: BinaryIO, name: object) -> tuple[int, int, int]:
    """(width, height, bits per channel) of one of OpenCV's kinds that may be decoded.

    Raises:
        UnreadableImage: it may not.
    """
    try:
        width, height, bits = kind.size(file) if kind.size else (0, 0, 0)
    except (struct.error, ValueError):
        raise UnreadableImage(name, "broken, or not an image") from None
    require_size(width, height, name)
    if file.seek(0, io.SEEK_END) > 8 * width * height + _EXTRA_BYTES:
        raise UnreadableImage(name, f"the file is far too long for its {width}x{height} pixels")
    return width, height, bits


def _pieces() -> Iterator[None]:
    """As many as a header may have."""
    yield from (None for _ in range(_MAX_PIECES))
    raise ValueError("a header without an end")


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """(marker, payload's length) up to the first scan; the file then stands at the payload."""
    file.seek(2)
    for _ in _pieces():
        # between the segments anything but 0xff is passed over, as libjpeg does it
        byte = file.read(1)
        if not byte:
            return
        if byte != b"\xff":
            continue
        marker, = struct.unpack("B", file.read(1))
        while marker == 0xFF:
            marker, = struct.unpack("B", file.read(1))
        if marker in _JPEG_ALONE:
            continue
        start, length = file.tell(), *struct.unpack(">H", file.read(2))
        yield marker, length - 2
        if marker == 0xDA or length < 2:
            return
        file.seek(start + length)


def _jpeg_size(file: BinaryIO) -> tuple[int, int, int]:
    for marker, _ in _jpeg_segments(file):
        if marker in _JPEG_FRAMES:
            bits, height, width = struct.unpack(">BHH", file.read(5))
            return width, height, bits
    raise ValueError("no frame header")


_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = {0x00, 0x01, *range(0xD0, 0xDA)}


def require_whole_jpeg(file: BinaryIO, data: bytes, name: object) -> None:
    """OpenCV fills what is missing of a JPEG with grey, without a word."""
    try:
        first_scan = next(file.tell() for marker, _ in _jpeg_segments(file) if marker == 0xDA)
    except (struct.error, ValueError, StopIteration):
        first_scan = len(data)
    # in a scan 0xff is never followed by 0xd9; after the picture's end there may be more, such as a film
    end = data.find(b"\xff\xd9", first_scan)
    if end < 0:
        raise UnreadableImage(name, "cut off: the end of the JPEG is missing")
    scans = 1 + data.count(b"\xff\xda", first_scan, end)
    if scans > _MAX_SCANS:
        raise UnreadableImage(name, f"a JPEG of {scans} scans; at most {_MAX_SCANS} are decoded")


def _png_size(file: BinaryIO) -> tuple[int, int, int]:
    file.seek(12)
    name, width, height, bits = struct.unpack(">4sIIB", file.read(13))
    if name != b"IHDR":
        raise ValueError("no header")
    return width, height, bits


def _bmp_size(file: BinaryIO) -> tuple[int, int, int]:
    file.seek(14)
    length, = struct.unpack("<I", file.read(4))
    # OS/2's header has 16 bits for a side; a negative height means from top to bottom
    width, height = struct.unpack(*(("<HH", file.read(4)) if length == 12 else ("<ii", file.read(8))))
    return abs(width), abs(height), 8


def _starts(pattern: bytes) -> re.Pattern:
    return re.compile(pattern, re.DOTALL)


FORMATS = (
    Format("JPEG", _starts(rb"\xff\xd8\xff"), (".jpg", ".jpeg"), _jpeg_size),
    Format("PNG", _starts(rb"\x89PNG\r\n\x1a\n"), (".png",), _png_size),
    Format("BMP", _starts(rb"BM"), (".bmp",), _bmp_size),
    Format("WebP", _starts(rb"RIFF.{4}WEBP"), (".webp",), pillow="WEBP"),
    Format("TIFF", _starts(rb"II[*+]\0|MM\0[*+]"), (".tif", ".tiff"), pillow="TIFF"),
    Format("GIF", _starts(rb"GIF8[79]a"), (".gif",), pillow="GIF"),
    Format("JPEG 2000", _starts(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), (".jp2", ".j2k"), pillow="JPEG2000"),
    Format("AVIF", _starts(rb".{4}ftyp(avif|avis|mif1|msf1)"), (".avif",), pillow="AVIF"),
    Format("PNM", _starts(rb"P[1-6]\s"), (".ppm", ".pgm", ".pbm"), pillow="PPM"),
)
IMAGE_SUFFIXES = tuple(suffix for kind in FORMATS for suffix in kind.suffixes)
