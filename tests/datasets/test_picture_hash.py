# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pictures that look alike are found whatever their size and compression, and others are not taken for them."""
import cv2
import numpy as np
from support import pictures

from ppdet_ext.datasets import picture_hash


def grey(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (120, 160), np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 12)
    return cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX)


def groups(images):
    return picture_hash.groups(*zip(*map(picture_hash.fingerprint, images)))


def test_another_size_compression_or_light_is_the_same_picture():
    first = grey(0)
    squeezed = cv2.imdecode(cv2.imencode(".jpg", first, (cv2.IMWRITE_JPEG_QUALITY, 30))[1], 0)
    smaller = cv2.resize(first, (97, 61), interpolation=cv2.INTER_AREA)
    brighter = np.clip(first * 0.8 + 40, 0, 255).astype(np.uint8)
    others = [first[:, ::-1], first[::-1], *map(grey, range(1, 6))]
    assert groups([first, *others[:3], squeezed, smaller, *others[3:], brighter]) == [[0, 4, 5, 10]]


def test_blank_pictures_are_not_alike():
    blank = [np.full((40, 40), value, np.uint8) for value in (0, 0, 255)]
    faint = np.zeros((40, 40), np.uint8)
    faint[:, 20:] = 3
    assert groups([*blank, faint, faint + 100]) == []
    assert groups([faint * 3, faint * 3 + 100]) == [[0, 1]]


def test_pictures_of_one_hash_must_look_alike_too():
    first, second = picture_hash.fingerprint(grey(0)), picture_hash.fingerprint(grey(1))
    hashes = [first[0]] * 4 + [first[0] ^ 0b111]
    small = [first[1], second[1], first[1], second[1], second[1]]
    assert picture_hash.groups(hashes, small) == [[0, 2], [1, 3, 4]]


def test_all_near_hashes_are_found():
    rng = np.random.default_rng(0)
    values = [int(value) for value in rng.integers(0, 2**63, 200, np.int64)]
    for place in range(150):  # so many bits apart: from none to six, anywhere
        bits = rng.choice(64, place % 7, replace=False)
        values.append(values[place] ^ sum(1 << int(bit) for bit in bits))
    wanted = sorted({(min(a, b), max(a, b)) for place, a in enumerate(values) for b in values[place + 1:]
                     if a != b and bin(a ^ b).count("1") <= picture_hash.MOST_BITS})
    assert list(picture_hash.near_hashes(values)) == wanted and len(wanted) > 80
    assert list(picture_hash.near_hashes([])) == list(picture_hash.near_hashes([5])) == []


def test_of_many_equal_pictures_none_is_compared_with_all(monkeypatch):
    compared = []
    real = picture_hash.bits_apart
    monkeypatch.setattr(picture_hash, "bits_apart", lambda values, one: compared.append(len(values)) or real(values,
                                                                                                            one))
    look, small = picture_hash.fingerprint(pictures.smooth()[..., 0])
    assert picture_hash.groups([look] * 500, [small] * 500) == [list(range(500))] and sum(compared) == 0
