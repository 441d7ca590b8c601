# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pictures that are mixed, cut and scaled: every box stays on its object, with all that belongs to it."""
import random

import numpy as np
import pytest
from ppdet.data.transform import operators

from ppdet_ext.data import box_arrays

SIDE = 64
KINDS = {
    "Mosaic": lambda: operators.Mosaic(input_dim=[SIDE, SIDE], degrees=[0, 0], shear=[0, 0], scale=[0.5, 1.0],
                                       enable_mixup=False),
    "a turned Mosaic": lambda: operators.Mosaic(input_dim=[SIDE, SIDE], scale=[0.3, 2.0]),
    "Mixup": lambda: operators.Mixup(alpha=32.0, beta=32.0),
    "Cutmix": operators.Cutmix,
    "RandomScaledCrop": lambda: operators.RandomScaledCrop(target_dim=SIDE, scale_range=[0.3, 2.5]),
    "RandomCrop": operators.RandomCrop,
}
# pixels of an object of 20 x 21 that may be outside of all boxes: it was cut off but for these
STRAY = {"Mosaic": 45, "a turned Mosaic": 180, "Mixup": 0, "Cutmix": 105, "RandomScaledCrop": 550, "RandomCrop": 220}
COUNTS = {"Mosaic": 5, "a turned Mosaic": 5, "Mixup": 2, "Cutmix": 2}
PER_BOX = {"gt_class": np.int32, "gt_score": np.float32, "is_crowd": np.int32, "difficult": np.int32}


def sample(number, boxes, height=50, width=70):
    """Of a black picture with a white object in each box; what belongs to a box is told by its number."""
    image = np.zeros((height, width, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    numbers = 100 * number + np.arange(len(boxes)).reshape(-1, 1)
    rows = {key: (numbers * (place + 1)).astype(dtype) for place, (key, dtype) in enumerate(PER_BOX.items())}
    return {"image": image, "im_shape": np.array([height, width], np.float32), "h": float(height), "w": float(width),
            "scale_factor": np.ones(2, np.float32), "im_id": np.array([number]), "curr_iter": 0,
            "gt_bbox": np.array(boxes, np.float32).reshape(-1, 4), **rows}


def any_sample(number, chance):
    """Of any size, with up to four boxes anywhere."""
    height, width = chance.integers(20, 90, 2)
    corners = [(chance.integers(0, width - 3), chance.integers(0, height - 3)) for _ in range(chance.integers(0, 5))]
    return sample(number, [(x, y, min(x + chance.integers(2, 40), width), min(y + chance.integers(2, 40), height))
                           for x, y in corners], height, width)


def make(kind, samples, seed):
    for start in (random.seed, np.random.seed):
        start(seed)
    return KINDS[kind]()(samples if kind in COUNTS else samples[0])


def assert_whole(made):
    """What must be so of any sample."""
    height, width = made["image"].shape[:2]
    assert (made["h"], made["w"]) == (height, width) and made["im_shape"].tolist() == [height, width]
    boxes, numbers = made["gt_bbox"], made["gt_class"]
    assert boxes.dtype == np.float32 and boxes.shape == (len(numbers), 4)
    assert (boxes >= 0).all() and (boxes <= [width, height, width, height]).all()
    assert (boxes[:, 2:] - boxes[:, :2] > 0).all()
    for place, (key, dtype) in enumerate(PER_BOX.items()):
        assert made[key].shape == (len(boxes), 1), key
        if key != "gt_score":  # Mixup and Cutmix write their own
            assert made[key].dtype == dtype and (made[key] == numbers * (place + 1)).all(), key


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "RandomCrop"])
def test_boxes_are_in_the_picture_with_all_that_belongs_to_them(kind):
    kept = 0
    for seed in range(30):
        chance = np.random.default_rng(seed)
        made = make(kind, [any_sample(number, chance) for number in range(COUNTS.get(kind, 1))], seed)
        assert_whole(made)
        kept += len(made["gt_bbox"])
    assert kept > 30


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_lie_on_their_objects_and_none_is_lost_that_is_there(kind):
    """One white object a picture: it is white where its box is, and hardly anywhere else."""
    for seed in range(40):
        samples = [sample(number, [(10 + 3 * number, 12, 30 + 3 * number, 33)])
                   for number in range(COUNTS.get(kind, 1))]
        if kind == "a turned Mosaic":
            for one in samples[4:]:  # its own Mixup blends another picture in
                one.update(sample(4, []))
        made = make(kind, samples, seed)
        seen = np.zeros(made["image"].shape[:2], bool)
        least = 60 if kind == "Mixup" else 200
        for x1, y1, x2, y2 in made["gt_bbox"].round().astype(int):
            inside = made["image"][y1:y2, x1:x2].min(2)
            if kind in ("Mosaic", "RandomScaledCrop", "RandomCrop") and inside.size > 16:
                assert inside.mean() > 180, seed
            seen[max(y1 - 2, 0):y2 + 2, max(x1 - 2, 0):x2 + 2] = True
        assert ((made["image"].min(2) > least) & ~seen).sum() <= STRAY[kind], seed


@pytest.mark.parametrize("kind", COUNTS)
def test_what_one_of_the_pictures_lacks_none_has(kind):
    samples = [sample(number, [(10, 10, 60, 40)]) for number in range(COUNTS[kind])]
    del samples[1]["difficult"]
    assert "difficult" not in make(kind, samples, 0)


def test_a_box_that_a_mosaic_cuts_to_a_line_is_not_turned_into_one():
    """The first picture is at the upper left, cut there; its objects beyond the border are gone, whatever the turn."""
    mosaic = operators.Mosaic(input_dim=[SIDE, SIDE], degrees=[10, 10], shear=[0, 0], translate=[0, 0], scale=[1, 1],
                              enable_mixup=False)
    lines = np.array([[0, 0, 0, 50, 1], [0, 0, 50, 0, 2], [5, 5, 20, 20, 3]], np.float32)
    _, labels = mosaic.random_affine_augment(np.zeros((128, 128, 3), np.uint8), lines, input_dim=[SIDE, SIDE],
                                             degrees=[10, 10], scales=[1, 1], shears=[0, 0], translates=[0, 0])
    assert labels[:, 4].tolist() == [3]


def test_cutmix_drops_what_it_covers_and_what_it_does_not_paste():
    first, second = [(0, 0, 10, 10), (40, 20, 60, 40)], [(0, 0, 10, 10), (42, 22, 58, 38)]
    cutmix = operators.Cutmix()
    found = set()
    for seed in range(30):
        for start in (random.seed, np.random.seed):
            start(seed)
        made = cutmix([sample(0, first), sample(1, second)])
        left, top, right, bottom = cutmix.patch
        kept = set(made["gt_class"].ravel().tolist())
        for number, (x1, y1, x2, y2) in zip((0, 1, 100, 101), first + second):
            share = max(min(x2, right) - max(x1, left), 0) * max(min(y2, bottom) - max(y1, top), 0) / (
                (x2 - x1) * (y2 - y1))
            share = share if number >= 100 else 1 - share
            if abs(share - box_arrays.VISIBLE) > 1e-6:
                assert (number in kept) == (share > box_arrays.VISIBLE), (seed, number)
                found.add((number, number in kept))
        pasted = made["gt_bbox"][made["gt_class"].ravel() >= 100]
        assert (pasted >= [left, top, left, top]).all() and (pasted <= [right, bottom, right, bottom]).all()
    assert {(0, False), (1, False), (100, False), (101, True)} <= found


def test_the_scale_is_jittered_over_its_range_and_an_object_is_looked_for():
    sides = []
    for seed in range(40):
        made = make("RandomScaledCrop", [sample(0, [(60, 40, 68, 48)])], seed)
        assert made["image"].shape == (SIDE, SIDE, 3) and len(made["gt_bbox"]) <= 1
        sides += [max(box[2:] - box[:2]) for box in made["gt_bbox"]]
    assert len(sides) >= 36 and max(sides) > 4 * min(sides)
