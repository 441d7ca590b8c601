# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Image files as pixels: recognised by their first bytes, measured before they are decoded.

OpenCV's wheels hold old copies of the decoders for WebP, TIFF and JPEG 2000 (opencv-python 4.5 and 4.6: a libwebp with
CVE-2023-4863). So only JPEG, PNG and BMP reach OpenCV; the other formats are Pillow's, which is not needed until such
a file comes. Every picture of this project is read here.
"""
from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from .deploy_error import DeployError
from .image_formats import Format, UnreadableImage, recognise, require_good_header, require_size, require_whole_jpeg

log = logging.getLogger("ppdet_ext")
#: bytes of a file that a decoder reads whole before its size is known
WHOLE_BYTES = 1 << 28
# bits per channel that cameras and scanners have
_DEPTHS = (8, 10, 12, 14, 16)
#: EXIF orientations from this one on exchange width and height
FIRST_LYING = 5
# formats whose header gives the size before the turn, and which every release turns
_SURELY_TURNED = ("JPEG", "WebP")
_said: set[str] = set()
_pillow_lock = threading.Lock()


def read_image(path: str | Path) -> np.ndarray:
    """RGB image [H, W, 3] uint8, turned as its EXIF tag says where OpenCV or Pillow know it.

    More than 8 bits per channel become 8; of several frames or pages it is the first; transparency is left out.

    Raises:
        UnreadableImage: the file is missing, not a plain file, no readable image, or larger than ``max_pixels``.
    """
    with _opened(path) as file:
        return _decode(file, path)


def read_grey(path: str | Path, least: int) -> np.ndarray:
    """Grey image [h, w] uint8, upright: for looking over many files, not for training.

    A JPEG is decoded at a half, a quarter or an eighth, as long as no side is below ``least`` pixels by that. That
    takes a fraction of the time, and its data is read to the end all the same. Raises as ``read_image``.
    """
    with _opened(path) as file:
        kind = _kind(file, path)
        if kind.name != "JPEG":
            file.seek(0)
            return cv2.cvtColor(_decode(file, path), cv2.COLOR_RGB2GRAY)
        share = min(_header(kind, file, path)[:2]) // max(least, 1)
        return _imdecode(kind, file, path, next(flag for parts, flag in _REDUCED if share >= parts))


def decode_image(data: bytes, name: object = "a picture") -> np.ndarray:
    """As ``read_image``, of a file's content; ``name`` is for the message."""
    return _decode(io.BytesIO(data), name)


def image_header(path: str | Path) -> tuple[int, int, int]:
    """(width, height, bits per channel) as the file says, before it is turned upright. Raises as ``read_image``."""
    with _opened(path) as file:
        return _header(_kind(file, path), file, path)


def _header(kind: Format, file: BinaryIO, name: object) -> tuple[int, int, int]:
    if kind.size:
        return require_good_header(kind, file, name)
    return _by_pillow(kind, file, name, lambda image: (*image.size, _depth(image, kind)[0]))


def upright_size(path: str | Path) -> tuple[int, int, int]:
    """(width, height, EXIF orientation from 1 to 8): the size that ``read_image`` gives. Raises as it does.

    A turned picture is decoded only where releases of OpenCV and Pillow differ.
    """
    with _opened(path) as file:
        kind = _kind(file, path)
        width, height, _ = _header(kind, file, path)
        try:
            orientation = _by_pillow(kind, file, path, _orientation)
        except UnreadableImage:  # Pillow is stricter, and OpenCV decides
            orientation = 1
    if orientation >= FIRST_LYING:
        height, width = (width, height) if kind.name in _SURELY_TURNED else read_image(path).shape[:2]
    return width, height, orientation


def format_of(path: str | Path) -> Format | None:
    """Which kind of image a file is by its first bytes; None for another file."""
    with _opened(path) as file:
        return recognise(file.read(32))


def _opened(path: str | Path) -> BinaryIO:
    try:
        # a pipe would wait for ever, a device has no end
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadableImage(path, "a folder, a pipe or a device, not a file")
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UnreadableImage(path, getattr(error, "strerror", None) or str(error)) from None


def _kind(file: BinaryIO, name: object) -> Format:
    head = file.read(32)
    kind = recognise(head)
    if kind is None:
        raise UnreadableImage(name, "broken, or not an image" if head else "the file is empty")
    return kind


def _decode(file: BinaryIO, name: object) -> np.ndarray:
    kind = _kind(file, name)
    return _by_opencv(kind, file, name) if kind.size else _by_pillow(kind, file, name, lambda image: _pixels(
        image, kind, file, name))


# ---- JPEG, PNG, BMP by OpenCV

# OpenCV decodes a JPEG at a part of its size: parts, from the smallest picture on
_REDUCED = ((8, cv2.IMREAD_REDUCED_GRAYSCALE_8), (4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
            (2, cv2.IMREAD_REDUCED_GRAYSCALE_2), (0, cv2.IMREAD_GRAYSCALE))


def _by_opencv(kind: Format, file: BinaryIO, name: object) -> np.ndarray:
    deep = require_good_header(kind, file, name)[2] > 8
    image = _imdecode(kind, file, name, cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if deep else 0))
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return _to_8_bits(image, None, name) if image.dtype == np.uint16 else image


def _imdecode(kind: Format, file: BinaryIO, name: object, flags: int) -> np.ndarray:
    """What OpenCV makes of a file whose header is good."""
    file.seek(0)
    data = file.read()
    if kind.name == "JPEG":
        require_whole_jpeg(file, data, name)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UnreadableImage(name, f"OpenCV cannot decode it: {_first_line(error)}") from None
    if image is None:
        raise UnreadableImage(name, "broken, or not an image")
    return image


# ---- the others by Pillow

def _by_pillow(kind: Format, file: BinaryIO, name: object, use: Callable[[Any], Any]) -> Any:
    """What ``use`` makes of the opened picture."""
    if kind.pillow != "TIFF" and file.seek(0, io.SEEK_END) > WHOLE_BYTES:
        raise UnreadableImage(name, f"a {kind.name} file of more than {WHOLE_BYTES >> 20} MiB")
    try:
        with _strict_pillow(), _pillow_image(kind, file) as image:
            require_size(image.width, image.height, name)
            return use(image)
    except DeployError:
        raise
    except ImportError:
        raise UnreadableImage(name, f"{kind.name}, which needs Pillow: pip install pillow") from None
    except Exception as error:  # a hostile file can make Pillow raise anything
        raise UnreadableImage(name, _reason(kind, error)) from None


def _reason(kind: Format, error: Exception) -> str:
    from PIL import UnidentifiedImageError, features

    extra = {"AVIF": "avif", "WEBP": "webp", "JPEG2000": "jpg_2000"}.get(kind.pillow)
    if extra and not features.check(extra):
        return f"{kind.name}, which this Pillow cannot read: pip install --upgrade pillow"
    if isinstance(error, UnidentifiedImageError):
        return "broken, or not an image"
    return f"broken, or not an image: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _pillow_image(kind: Format, file: BinaryIO) -> Any:
    from PIL import Image

    file.seek(0)
    return Image.open(file, formats=[kind.pillow or kind.name])


@contextlib.contextmanager
def _strict_pillow() -> Iterator[None]:
    """Two settings that stand in Pillow's modules, for as long as a picture is read.

    Its own limit of pixels: ours is checked as soon as the size is known. And whether what is missing of a picture is
    filled with grey: a package may have said so for the whole process, as ppdet does.
    """
    from PIL import Image, ImageFile

    with _pillow_lock:
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def _pixels(image: Any, kind: Format, file: BinaryIO, name: object) -> np.ndarray:
    """RGB uint8 [H, W, 3] of what Pillow has opened."""
    depth, said = _depth(image, kind)
    if depth > 8 and image.mode in _COLOURS:
        _require_known_order(image, name)
        high = _upright(image).convert("RGB")
        low = _upright(_low_bytes(_pillow_image(kind, file))).convert("RGB")
        return _to_8_bits(np.asarray(high).astype(np.uint16) << 8 | np.asarray(low), said, name)
    image = _upright(image)
    if not image.mode.startswith(("I", "F")):
        return np.array(image.convert("RGB"))
    grey = np.asarray(image)
    if image.mode == "F" or grey.min() < 0 or grey.max() > 0xFFFF:
        raise UnreadableImage(name, "its values have 32 bits and no known range; save it with 8 or 16 bits")
    return np.repeat(_to_8_bits(grey.astype(np.uint16), said, name)[..., None], 3, 2)


def _orientation(image: Any) -> int:
    from PIL import Image

    exif = Image.Exif()
    # of a PNG, ``getexif`` would decode the pixels
    exif.load(image.info.get("exif", b""))
    value = (exif if image.format in ("JPEG", "MPO", "PNG", "BMP") else image.getexif()).get(0x0112)
    return value if isinstance(value, int) and value in range(1, 9) else 1


_COLOURS = ("RGB", "RGBX", "RGBA")


def _upright(image: Any) -> Any:
    from PIL import ImageOps

    image.load()
    return ImageOps.exif_transpose(image)


def _depth(image: Any, kind: Format) -> tuple[int, int | None]:
    """(bits per channel, bits that are used as far as the file says so)."""
    if kind.pillow != "TIFF":
        return 8, 16  # Pillow stretches the others to all bits
    bits_per_sample, max_sample_value = 258, 281
    stored = max(np.atleast_1d(image.tag_v2.get(bits_per_sample, 1)).tolist())
    largest = max(np.atleast_1d(image.tag_v2.get(max_sample_value, 0)).tolist())
    used = int(largest).bit_length() or (stored if stored < 16 else None)
    return stored, used


# which byte of 16 bits comes last -> the contrary; N is this machine's own order
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def _require_known_order(image: Any, name: object) -> None:
    """Pillow's reader says how it takes the bytes of 16 bits per colour, unless each colour lies for itself."""
    planar_configuration = 284
    orders = {tile[3][0].partition(";16")[2] for tile in image.tile}
    if image.tag_v2.get(planar_configuration, 1) != 1 or not orders <= _OTHER_ORDER.keys():
        raise UnreadableImage(name, "a kind of TIFF with 16 bits per colour that is not read; save it as PNG")


def _low_bytes(image: Any) -> Any:
    """Of 16 bits per colour Pillow takes the high byte: let it take the other by exchanging them."""
    tiles = []
    for tile in image.tile:
        arguments = tile[3]
        mode, _, order = arguments[0].partition(";16")
        exchanged = (f"{mode};16{_OTHER_ORDER[order]}", *arguments[1:])
        # a plain tuple in older releases of Pillow
        tiles.append(type(tile)(*tile[:3], exchanged) if hasattr(tile, "_fields") else (*tile[:3], exchanged))
    image.tile = tiles
    return image


def _to_8_bits(values: np.ndarray, said: int | None, name: object) -> np.ndarray:
    """uint16 -> uint8: the 8 highest of the bits that are used.

    Which are used is ``said`` by the file, unless its values are larger. Without that it is the least of the usual
    depths that holds the largest value: cameras with 10, 12 or 14 bits leave the upper ones empty, and the picture
    would be black.
    """
    needed = int(values.max()).bit_length()
    used = said if said and said >= needed else 16 if said else next(bits for bits in _DEPTHS if bits >= needed)
    if used < 16:
        _say_once(f"{str(name)!r} has 16 bits per channel, of which {used} are used: those become 8 (so in all such "
                  "files; this is said once)", f"{used} of 16 bits")
    # fewer than 8 bits are stretched
    scaled = values >> (used - 8) if used >= 8 else values << (8 - used)
    return scaled.astype(np.uint8)


def _say_once(text: str, topic: str) -> None:
    if topic not in _said:
        _said.add(topic)
        log.warning(text)
