# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The second data set of benchmarks/swap.py: the same from the same seed, disjoint splits, boxes around the ink."""
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ppdet_ext.data import digit_pictures

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "letter_pictures.py"


@pytest.fixture(scope="module")
def letters():
    spec = importlib.util.spec_from_file_location("letter_pictures", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_same_picture_from_the_same_seed(letters):
    image, objects = letters.draw("train", 3, 96, seed=0)
    again = letters.draw("train", 3, 96, seed=0)
    assert np.array_equal(image, again[0]) and objects == again[1] and objects
    assert not np.array_equal(image, letters.draw("train", 3, 96, seed=1)[0][:image.shape[0], :image.shape[1]])


def test_train_val_and_the_digits_share_no_picture_and_no_font(letters):
    (_, fonts, pictures, _), (_, other_fonts, other_pictures, _) = letters.SPLITS.values()
    assert not set(fonts) & set(other_fonts)
    of_digits = {file for _, files, _ in digit_pictures.SPLITS.values() for file in files}
    assert not set(pictures) & set(other_pictures) and not {*pictures, *other_pictures} & of_digits


def test_a_box_is_cut_to_the_ink_and_lies_in_the_picture(letters):
    opacity = letters.ink(np.random.default_rng(0), "DejaVuSans", "A", 40)
    assert opacity.shape[0] == 40 and opacity.min() >= 0 and opacity.max() <= 1
    assert all(edge.max() > 0.2 for edge in (opacity[0], opacity[-1], opacity[:, 0], opacity[:, -1]))
    for number in range(6):
        image, objects = letters.draw("val", number, 96, seed=0)
        assert all(x >= 0 and y >= 0 and x + w <= image.shape[1] and y + h <= image.shape[0]
                   for _, (x, y, w, h) in objects)
