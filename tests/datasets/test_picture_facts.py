# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What picture files say of themselves, read here or by several processes, and what cannot be read."""
import cv2
import numpy as np
import pytest
from support import checked_sets, pictures

from ppdet_ext.datasets import picture_facts, picture_hash
from ppdet_ext.deploy import image_files
from ppdet_ext.deploy.image_formats import UnreadableImage
from ppdet_ext.errors import UserError


@pytest.fixture
def folder(tmp_path):
    image = pictures.smooth(480, 640)
    whole = pictures.by_opencv(image, ".jpg")
    contents = {"good.jpg": whole, "copy.jpg": whole, "cut.jpg": whole[:len(whole) // 2], "empty.jpg": b"",
                "text.jpg": b"no picture", "turned.jpg": pictures.by_pillow(image, "JPEG", turned=6),
                "good.png": pictures.by_opencv(image, ".png"), "good.gif": pictures.by_pillow(image, "GIF")}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_facts_of_files(folder):
    found = {path.name: picture_facts.of_file(path) for path in folder.iterdir()}
    reasons = {name: fact.reason for name, fact in found.items() if fact.reason}
    assert reasons == {"cut.jpg": "cut off: the end of the JPEG is missing", "empty.jpg": "the file is empty",
                       "text.jpg": "broken, or not an image"}
    assert picture_facts.of_file(folder / "none.jpg").reason == "No such file or directory"
    sizes = {name: (fact.width, fact.height, fact.orientation) for name, fact in found.items() if not fact.reason}
    assert sizes == {"good.jpg": (640, 480, 1), "copy.jpg": (640, 480, 1), "turned.jpg": (480, 640, 6),
                     "good.png": (640, 480, 1), "good.gif": (640, 480, 1)}
    assert found["good.jpg"] == found["copy.jpg"] and found["good.jpg"].digest != found["good.png"].digest
    near = bin(found["good.jpg"].look ^ found["good.png"].look).count("1")
    assert near <= picture_hash.MOST_BITS < bin(found["good.jpg"].look ^ found["turned.jpg"].look).count("1")


def test_grey_pictures_are_small_upright_and_never_half(folder):
    for name, least, size in (("good.jpg", 32, (60, 80)), ("good.jpg", 61, (120, 160)), ("good.jpg", 200, (240, 320)),
                              ("good.jpg", 999, (480, 640)), ("good.jpg", 0, (60, 80)), ("turned.jpg", 32, (80, 60)),
                              ("good.png", 32, (480, 640))):
        small = image_files.read_grey(folder / name, least)
        assert small.shape == size and small.dtype == np.uint8, (name, least)
        whole = cv2.cvtColor(image_files.read_image(folder / name), cv2.COLOR_RGB2GRAY)
        reduced = cv2.resize(whole, size[::-1], interpolation=cv2.INTER_AREA)
        assert abs(small.astype(int) - reduced).mean() < 2
    with pytest.raises(UnreadableImage, match="cut off"):
        image_files.read_grey(folder / "cut.jpg", 32)


@pytest.mark.slow
def test_several_processes_read_the_same_in_the_same_order(folder, monkeypatch):
    monkeypatch.setattr(picture_facts, "FEW", 1)
    monkeypatch.setattr(picture_facts, "PIECE", 3)
    paths = sorted(folder.iterdir()) * 3
    assert list(picture_facts.of_files(paths, 2)) == [picture_facts.of_file(path) for path in paths]
    monkeypatch.setattr(picture_facts, "_of_piece", checked_sets.die)
    with pytest.raises(UserError, match="--workers 1"):
        list(picture_facts.of_files([str(path) for path in paths], 2))
