# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Faster transforms give ppdet's pixels, boxes and random numbers."""
import copy
import inspect

import cv2
import numpy as np
import pytest
from ppdet.data.transform import batch_operators, operators

from ppdet_ext.data import pixels
from ppdet_ext.patches import ledger

# the chance to act is wrapped around it
DISTORT = operators.RandomDistort.apply.__wrapped__


def picture(dtype="uint8", height=37, width=53):
    """RGB noise [height, width, 3]; floats lie between the grey levels, and a little outside of 0..255 too."""
    image = np.random.randint(0, 256, (height, width, 3)).astype(dtype)
    return image if dtype == "uint8" else (image * 1.1 + np.random.uniform(-9, 9, image.shape)).astype(dtype)


def both(method, *arguments, seed=0):
    """(ours, ppdet's) results of a patched method, which must use up the same random numbers."""
    assert method is not inspect.unwrap(method)
    results, states = [], []
    for function in (method, inspect.unwrap(method)):
        np.random.seed(seed)
        results.append(function(*copy.deepcopy(arguments)))
        states.append(np.random.get_state())
    assert np.array_equal(states[0][1], states[1][1]) and states[0][2] == states[1][2]
    return results


def distance(ours, theirs):
    return np.abs(ours["image"].astype("float64") - theirs["image"]).max()


# ---------------------------------------------------------------- one transform
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("count", [4, 2])
def test_distortion_is_ppdets_whatever_steps_are_drawn(dtype, count):
    sample = {"image": picture(dtype)}
    changed = 0
    for seed in range(60):
        ours, theirs = both(DISTORT, operators.RandomDistort(count=count), sample, seed=seed)
        assert distance(ours, theirs) <= pixels.DISTORT_TOLERANCE
        assert ours["image"].dtype != "float64"
        changed += distance(ours, sample) > 1
    assert changed > 30


def test_steps_of_a_subclass_and_the_fixed_order_stay_ppdets():
    class Inverted(operators.RandomDistort):
        def apply_hue(self, image):
            return 255 - image

    nothing = {name: [0, 0, 1.0] for name in ("brightness", "contrast", "saturation")}
    image = picture()
    assert np.array_equal(Inverted(**nothing).apply({"image": image})["image"], 255 - image)
    for seed in range(5):
        ours, theirs = both(DISTORT, operators.RandomDistort(random_apply=False), {"image": image}, seed=seed)
        assert np.array_equal(ours["image"], theirs["image"])


@pytest.mark.parametrize("settings", [
    {}, {"mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.3]}, {"mean": [0.0] * 3, "std": [1.0] * 3},
    {"mean": [120.0, 110.0, 100.0], "std": [58.0] * 3, "is_scale": False}, {"norm_type": "none"}])
def test_normalisation_is_exact_from_uint8_and_to_rounding_from_float(settings):
    transform = operators.NormalizeImage(**settings)
    exact = both(operators.NormalizeImage.apply, transform, {"image": picture()})
    assert np.array_equal(exact[0]["image"], exact[1]["image"]) and exact[0]["image"].dtype == np.float32
    ours, theirs = both(operators.NormalizeImage.apply, transform, {"image": picture("float32")})
    assert distance(ours, theirs) <= pixels.NORMALIZE_TOLERANCE and ours["image"].dtype == np.float32


def test_normalisation_of_a_second_picture_and_of_grey_stays_ppdets():
    sample = {"image": picture(), "pre_image": picture()}
    ours, theirs = both(operators.NormalizeImage.apply, operators.NormalizeImage(), sample)
    assert all(np.array_equal(ours[key], theirs[key]) for key in sample)
    one = operators.NormalizeImage(mean=[0.5], std=[0.5])
    ours, theirs = both(operators.NormalizeImage.apply, one, {"image": picture()[..., :1]})
    assert np.array_equal(ours["image"], theirs["image"])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("fill", [(123.675, 116.28, 103.53), (127.5, 0, 300)])
def test_padding_is_exact(dtype, fill):
    pad = operators.Pad([80, 91], pad_mode=-1, offsets=[7, 13], fill_value=fill)
    ours, theirs = both(operators.Pad.apply_image, pad, picture(dtype), [7, 13], [37, 53], [80, 91])
    assert ours.dtype == theirs.dtype == np.float32 and np.array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_flipping_is_exact_for_part_of_a_picture_too(dtype):
    ours, theirs = both(operators.RandomFlip.apply_image, operators.RandomFlip(), picture(dtype)[3:30, 5:40])
    assert np.array_equal(ours, theirs)


# ---------------------------------------------------------------- the recipe
def recipe():
    return [operators.RandomDistort(prob=0.8), operators.RandomExpand(fill_value=[123.675, 116.28, 103.53]),
            operators.RandomCrop(prob=0.8), operators.RandomFlip(),
            batch_operators.BatchRandomResize(target_size=[64, 96], random_size=True, random_interp=True,
                                              keep_ratio=False),
            operators.NormalizeImage(), operators.NormalizeBox(), operators.BboxXYXY2XYWH(), operators.Permute()]


def batches(sample, number):
    """That many batches of two samples each, from the same random numbers whenever called."""
    transforms, made = recipe(), []
    np.random.seed(7)
    for _ in range(number):
        batch = [copy.deepcopy(sample) for _ in range(2)]
        for transform in transforms:
            batch = transform(batch)
        made += batch
    return made


def test_the_whole_recipe_gives_ppdets_batches():
    boxes = np.array([[5, 5, 40, 30], [20, 8, 50, 36]], "float32")
    sample = {"image": cv2.GaussianBlur(picture(), (5, 5), 2), "gt_bbox": boxes, "gt_class": np.zeros((2, 1), "int32"),
              "is_crowd": np.zeros((2, 1), "int32")}
    ours = batches(sample, 25)
    with ledger.without("fast_distort", "fast_normalize", "fast_pad", "fast_flip"):
        theirs = batches(sample, 25)
    for one, other in zip(ours, theirs):
        assert np.array_equal(one["gt_bbox"], other["gt_bbox"])
        # Lanczos and cubic weights are signed and make the tolerances of two steps up to about twice their sum
        limit = 2 * (pixels.NORMALIZE_TOLERANCE + pixels.DISTORT_TOLERANCE / 255 / 0.224)
        assert distance(one, other) <= limit
