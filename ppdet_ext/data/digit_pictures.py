# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One picture of the sample data set: handwritten digits drawn over a photograph, from a seed and a number.

Digits come from scikit-learn's ``load_digits`` (8x8 pixels, 13 writers), photographs from the files that scikit-image
and scikit-learn carry in their wheels. Train and val share neither a digit image nor a photograph.
"""
from __future__ import annotations

import dataclasses
import functools
import importlib.util
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError, nearest

# split -> (number, photographs as (package, file), slice of load_digits); writers follow each other in load_digits,
# so a slice separates writers too
SPLITS = {
    "train": (0, (
        ("skimage", "data/astronaut.png"), ("skimage", "data/camera.png"), ("skimage", "data/brick.png"),
        ("skimage", "data/gravel.png"), ("skimage", "data/hubble_deep_field.jpg"), ("skimage", "data/ihc.png"),
        ("skimage", "data/moon.png"), ("skimage", "data/motorcycle_left.png"), ("skimage", "data/rocket.jpg"),
        ("sklearn", "datasets/images/china.jpg"),
    ), slice(0, 1400)),
    "val": (1, (
        ("skimage", "data/chelsea.png"), ("skimage", "data/coffee.png"), ("skimage", "data/coins.png"),
        ("skimage", "data/grass.png"), ("skimage", "data/retina.jpg"), ("sklearn", "datasets/images/flower.jpg"),
    ), slice(1400, None)),
}


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """``digit``: height as a fraction of the image's shorter side; ``contrast``: least difference to the background
    in grey levels of 255; ``overlap``: most of the smaller of two boxes that may be shared; ``blur``: most sigma, in
    pixels; ``empty``: the fraction of training images without a digit."""
    digit: tuple[float, float]
    contrast: int
    overlap: float
    most: int = 5
    blur: float = 0.0
    empty: float = 0.04


DIFFICULTIES = {
    "easy": Difficulty(digit=(0.28, 0.50), contrast=90, overlap=0.10, most=4),
    "medium": Difficulty(digit=(0.20, 0.50), contrast=70, overlap=0.20, blur=0.8),
    "hard": Difficulty(digit=(0.08, 0.40), contrast=45, overlap=0.35, most=8, blur=1.5),
}


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a data set is made from: image counts, longest image side in pixels, seed, difficulty's name, and the
    digits' height range (None: the difficulty's own)."""
    train: int = 400
    val: int = 80
    size: int = 320
    seed: int = 0
    difficulty: str = "medium"
    digit: tuple[float, float] | None = None

    def settings(self) -> Difficulty:
        """The ``Difficulty`` meant. Raises UserError for what cannot be made."""
        if self.difficulty not in DIFFICULTIES:
            raise UserError(f"unknown difficulty '{self.difficulty}'{nearest(self.difficulty, DIFFICULTIES)} "
                            f"(known: {', '.join(DIFFICULTIES)})")
        settings = DIFFICULTIES[self.difficulty]
        if self.digit is not None:
            settings = dataclasses.replace(settings, digit=(self.digit[0], self.digit[1]))
        low, high = settings.digit
        if not 0 < low <= high <= 0.9:
            raise UserError(f"digit size range {low} {high} must satisfy 0 < low <= high <= 0.9 (of the shorter side)")
        if self.train < 1 or self.val < 1 or self.size < 32 or self.seed < 0:
            raise UserError(f"need train >= 1, val >= 1, size >= 32, seed >= 0; given {self.train}, {self.val}, "
                            f"{self.size}, {self.seed}")
        return settings


# ---------------------------------------------------------------- raw material
@functools.cache
def photograph(package: str, name: str) -> np.ndarray:
    """RGB uint8 [H, W, 3] of a file inside an installed package (Pillow: OpenCV prints warnings on two of them)."""
    from PIL import Image
    spec = importlib.util.find_spec(package)
    path = Path((spec.submodule_search_locations or [""])[0]) / name if spec else None
    if path is None or not path.is_file():
        wheel = {"skimage": "scikit-image<=0.22", "sklearn": "scikit-learn"}[package]
        raise UserError(f"the sample data set needs '{package}/{name}'; run: pip install '{wheel}'")
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@functools.cache
def _digits(split):
    """{label: [n, 8, 8] float32 ink in 0..1} of one split."""
    from sklearn.datasets import load_digits
    data = load_digits()
    part = SPLITS[split][2]
    images, labels = data.images[part].astype("float32") / 16, data.target[part]
    return {label: images[labels == label] for label in range(10)}


# ---------------------------------------------------------------- drawing
def _background(rng, photographs, size):
    """A crop of one photograph, flipped at random: RGB uint8 [h, w, 3], one side ``size``, the other 0.75..1 of it."""
    photo = photograph(*photographs[rng.integers(len(photographs))])
    short = round(size * rng.uniform(0.75, 1))
    width, height = (size, short) if rng.random() < 0.5 else (short, size)
    largest = min(photo.shape[1] / width, photo.shape[0] / height)
    scale = largest * rng.uniform(0.45, 1)
    crop_w, crop_h = int(width * scale), int(height * scale)
    x = rng.integers(photo.shape[1] - crop_w + 1)
    y = rng.integers(photo.shape[0] - crop_h + 1)
    crop = photo[y:y + crop_h, x:x + crop_w]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(crop), (width, height), interpolation=method)


def _ink(rng, digit, height):
    """Opacity 0..1, float32 [h, w] with h near ``height``, cut to the ink: smooth, slightly turned and stretched."""
    canvas = np.pad(digit, 3)
    zoom = height / 8
    side = round(canvas.shape[0] * zoom)
    smooth = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-12, 12), 1)
    turn[0] *= rng.uniform(0.85, 1.2)
    turn[0, 2] += side / 2 - turn[0, :2].sum() * side / 2 - turn[0, 2]
    smooth = cv2.warpAffine(smooth, turn, (side, side), flags=cv2.INTER_LINEAR)
    opacity = np.clip((smooth - 0.35) / 0.22, 0, 1)
    rows, columns = np.where((opacity > 0.5).any(1))[0], np.where((opacity > 0.5).any(0))[0]
    return opacity[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]


def _colour(rng, patch, contrast):
    """An RGB colour whose grey value differs from the patch's mean by at least ``contrast``, either polarity."""
    weights = np.array([0.299, 0.587, 0.114])
    grey = float(patch.reshape(-1, 3).mean(0) @ weights)
    levels = np.array([level for level in range(256) if abs(level - grey) >= contrast])
    dark, light = levels[levels < grey], levels[levels > grey]
    side = [part for part in (dark, light) if len(part)]
    target = rng.choice(side[rng.integers(len(side))])
    tint = rng.uniform(-60, 60, 3)
    return np.clip(target + tint - tint @ weights, 0, 255)


def _shared(box, boxes):
    """The largest part of the smaller box that ``box`` shares with one of ``boxes`` (x, y, w, h)."""
    most = 0.0
    for other in boxes:
        width = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
        height = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
        if width > 0 and height > 0:
            most = max(most, width * height / min(box[2] * box[3], other[2] * other[3]))
    return most


def _place(rng, shape, size, boxes, overlap, tries=30):
    """(x, y) for a digit of ``size`` (h, w) wholly inside the picture and not over the others; None where none fits."""
    free = shape[0] - size[0], shape[1] - size[1]
    if min(free) < 0:
        return None
    for _ in range(tries):
        y, x = (int(rng.integers(room + 1)) for room in free)
        if _shared((x, y, size[1], size[0]), boxes) <= overlap:
            return x, y
    return None


def draw(split: str, number: int,
         spec: Spec) -> tuple[np.ndarray, list[tuple[int, tuple[int, int, int, int]]]]:
    """Image ``number`` of a split, whatever the other images are: (RGB uint8 [h, w, 3], [(label, (x, y, w, h))])."""
    settings = spec.settings()
    code, photographs, _ = SPLITS[split]
    rng = np.random.default_rng([spec.seed, code, number])
    image = _background(rng, photographs, spec.size).astype("float32")
    count = int(rng.integers(1, settings.most + 1))
    every = round(1 / settings.empty) if settings.empty else 0
    if split == "train" and every and number % every == every - 1:
        count = 0
    labels: list[int] = []
    boxes: list[tuple[int, int, int, int]] = []
    for _ in range(count):
        label = int(rng.integers(10))
        digits = _digits(split)[label]
        height = rng.uniform(*settings.digit) * min(image.shape[:2])
        opacity = _ink(rng, digits[rng.integers(len(digits))], height)
        corner = _place(rng, image.shape, opacity.shape, boxes, settings.overlap)
        if corner is None:
            continue
        (x, y), (h, w) = corner, opacity.shape
        patch = image[y:y + h, x:x + w]
        mask = opacity[..., None] * rng.uniform(0.9, 1)
        patch[:] = patch * (1 - mask) + _colour(rng, patch, settings.contrast) * mask
        labels.append(label)
        boxes.append((x, y, w, h))
    if settings.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.05, settings.blur))
    image = image * rng.uniform(0.85, 1.1) + rng.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype("uint8"), list(zip(labels, boxes))
