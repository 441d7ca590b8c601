# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Image files of all kinds, good, odd and hostile, made in memory."""
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, features

ORIENTATION = 0x0112
#: Pillow's names of the formats that are not OpenCV's here -> a suffix; None without the library that Pillow wants
PILLOW = {"WEBP": ("webp", "webp"), "TIFF": ("tif", None), "GIF": ("gif", None), "JPEG2000": ("jp2", "jpg_2000"),
          "AVIF": ("avif", "avif"), "PPM": ("ppm", None)}


def smooth(height=48, width=64, seed=0):
    """RGB uint8 that changes slowly, so that lossy formats keep it."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def by_pillow(image, kind, turned=None, **settings):
    """The file's bytes; skips the test where this Pillow cannot write the format."""
    needs = PILLOW.get(kind, (None, None))[1]
    if needs and not features.check(needs):
        pytest.skip(f"this Pillow has no {kind}")
    if turned:
        settings["exif"] = Image.Exif()
        settings["exif"][ORIENTATION] = turned
    Image.fromarray(image).save(file := io.BytesIO(), kind, **settings)
    return file.getvalue()


def by_opencv(image, suffix):
    """The bytes of an RGB or grey array of 8 or 16 bits."""
    return cv2.imencode(suffix, image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def png_header(width, height):
    """A PNG of that size by its header, with 1 KB of pixels that are not enough for it."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


def with_size(data, width, height):
    """A JPEG whose frame header says another size."""
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4:]


def bmp_header(width, height):
    """A BMP of that size, without its pixels."""
    return b"BM" + bytes(12) + struct.pack("<IiiHH", 40, width, height, 1, 24) + bytes(100)
