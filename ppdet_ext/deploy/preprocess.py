# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From a picture to the network's input: the steps that ``infer_cfg.yml`` lists under ``Preprocess``.

Each step does what ppdet's transform of that name does in evaluation, to the last pixel (PadStride: PadBatch).
A step takes and gives ``(image, info)``; ``info`` holds ``im_shape`` and ``scale_factor``, both (y, x).
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np

from .deploy_error import DeployError, shown
from .image_formats import LIMIT, PictureError, max_pixels

Info = dict  # {'im_shape', 'scale_factor'}: float32 [2], (y, x)
Step = Callable[[np.ndarray, Info], tuple]  # (image, info) -> (image, info)


#: pixels of the picture that a network sees; a step that asks for more is refused
MAX_STRIDE = 4096


def _pair(value):
    """(height, width) of a number or of two."""
    return (value, value) if np.isscalar(value) else tuple(value)


def _require(good, step, name, value, wanted):
    if not good:
        raise DeployError(f"Preprocess: {step}: {name} must be {wanted}, not {shown(value)}")


def _is_whole(value, least, most):
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _require_size(step, name, value):
    """A side, or (height, width), within the limit of pictures."""
    sides = list(value) if isinstance(value, (list, tuple)) else [value, value]
    most = max_pixels()
    good = len(sides) == 2 and all(_is_whole(side, 1, most) for side in sides)
    _require(good and sides[0] * sides[1] <= most, step, name, value,
             f"a side or [height, width], of at most {most} pixels in all ({LIMIT} changes that)")


def _require_colours(step, name, value, zero=True):
    """One finite number, or one for each channel."""
    good = isinstance(value, (list, tuple)) and len(value) in (1, 3) and all(
        isinstance(part, (int, float)) and not isinstance(part, bool) and (0 if zero else 1e-6) <= abs(part) <= 1e6
        for part in value)
    _require(good, step, name, value, f"1 or 3 numbers, finite{'' if zero else ' and not 0'}")


@dataclass(frozen=True)
class Resize:
    """Resize to ``target_size`` (h, w); with ``keep_ratio`` to the largest size that fits into it either way up."""

    target_size: list
    keep_ratio: bool = True
    interp: int = cv2.INTER_LINEAR

    def __post_init__(self):
        _require_size("Resize", "target_size", self.target_size)
        _require(isinstance(self.keep_ratio, bool), "Resize", "keep_ratio", self.keep_ratio, "true or false")
        _require(_is_whole(self.interp, 0, cv2.INTER_NEAREST_EXACT), "Resize", "interp", self.interp,
                 f"one of OpenCV's numbers, 0 to {cv2.INTER_NEAREST_EXACT}")

    def __call__(self, image, info):
        size, target = image.shape[:2], _pair(self.target_size)
        if self.keep_ratio:
            ratio = min(min(target) / min(size), max(target) / max(size))
            scale = (ratio, ratio)
        else:
            scale = (target[0] / size[0], target[1] / size[1])
        image = cv2.resize(image, None, None, fx=scale[1], fy=scale[0], interpolation=self.interp)
        info["im_shape"] = np.array([size[0] * scale[0], size[1] * scale[1]], np.float32)
        info["scale_factor"] = np.array(info["scale_factor"] * np.array(scale), np.float32)
        return image.astype(np.float32), info


@dataclass(frozen=True)
class NormalizeImage:
    """Scale to 0..1 (``is_scale``), then ``(image - mean) / std`` unless ``norm_type`` is ``none``."""

    mean: list
    std: list
    is_scale: bool = True
    norm_type: str = "mean_std"

    def __post_init__(self):
        _require_colours("NormalizeImage", "mean", self.mean)
        _require_colours("NormalizeImage", "std", self.std, zero=False)
        _require(isinstance(self.is_scale, bool), "NormalizeImage", "is_scale", self.is_scale, "true or false")
        if self.norm_type not in ("mean_std", "none"):
            raise DeployError(f"Preprocess: norm_type is {shown(self.norm_type)}; it can be mean_std or none")

    def __call__(self, image, info):
        image = image.astype(np.float32)
        if self.is_scale:
            image *= 1.0 / 255.0
        if self.norm_type == "mean_std":
            image -= np.array(self.mean, np.float32)
            image /= np.array(self.std, np.float32)
        return image, info


@dataclass(frozen=True)
class Permute:
    """Height, width, channel to channel, height, width."""

    def __call__(self, image, info):
        return np.ascontiguousarray(image.transpose(2, 0, 1)), info


@dataclass(frozen=True)
class PadStride:
    """Zeros at the right and the bottom up to a multiple of ``stride``. Takes the permuted image."""

    stride: int = 0

    def __post_init__(self):
        _require(_is_whole(self.stride, -1, MAX_STRIDE), "PadStride", "stride", self.stride,
                 f"a number up to {MAX_STRIDE}")

    def __call__(self, image, info):
        if self.stride <= 0:
            return image, info
        up = [math.ceil(side / self.stride) * self.stride - side for side in image.shape[1:]]
        return np.pad(image, ((0, 0), (0, up[0]), (0, up[1]))), info


@dataclass(frozen=True)
class Pad:
    """``fill_value`` (r, g, b) at the right and the bottom up to ``size`` (h, w), or a multiple of ``size_divisor``."""

    size: list | int | None = None
    size_divisor: int = 32
    pad_mode: int = 0
    offsets: list | None = None
    fill_value: tuple = (127.5, 127.5, 127.5)

    def __post_init__(self):
        if self.size:
            _require_size("Pad", "size", self.size)
        _require(_is_whole(self.size_divisor, 1, MAX_STRIDE), "Pad", "size_divisor", self.size_divisor,
                 f"a number from 1 to {MAX_STRIDE}")
        _require_colours("Pad", "fill_value", self.fill_value)
        if self.pad_mode != 0:
            raise DeployError(f"Preprocess: Pad with pad_mode {shown(self.pad_mode)} moves the boxes; deployment takes "
                              "0 only")

    def __call__(self, image, info):
        rows, columns = image.shape[:2]
        size = [math.ceil(side / self.size_divisor) * self.size_divisor for side in (rows, columns)]
        height, width = _pair(self.size) if self.size else size
        if rows > height or columns > width:
            raise PictureError(f"Preprocess: Pad to {height}x{width} got an image of {rows}x{columns}; "
                               "put a Resize first")
        canvas = np.empty((height, width, 3), np.float32)
        canvas[:] = np.array(self.fill_value, np.float32)
        canvas[:rows, :columns] = image
        return canvas, info


OPS = {op.__name__: op for op in (Resize, NormalizeImage, Permute, PadStride, Pad)}


def build(steps: Sequence[dict]) -> list[Step]:
    """The list of callables for ``[{'type': name, **settings}, ...]``.

    Raises:
        DeployError: an unknown type or setting; the message names those known.
    """
    return [_build_one(dict(step)) for step in steps]


def _build_one(settings):
    kind = settings.pop("type", None)
    if not isinstance(kind, str) or kind not in OPS:
        raise DeployError(f"Preprocess: unknown type {shown(kind)}; known are {', '.join(OPS)}")
    known = [field.name for field in fields(OPS[kind])]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise DeployError(f"Preprocess: {kind} has no setting {shown(unknown[0])}; it has {', '.join(known) or 'none'}")
    try:
        return OPS[kind](**settings)
    except TypeError as error:
        raise DeployError(f"Preprocess: {kind}: {error}") from None


def check_order(ops: Sequence[Step]) -> None:
    """See that the steps make a network's input: Permute once, PadStride after it, the others before.

    Raises:
        DeployError: they do not.
    """
    kinds = [type(op) for op in ops]
    turn = kinds.index(Permute) if kinds.count(Permute) == 1 else -1
    if turn < 0 or PadStride in kinds[:turn] or any(kind is not PadStride for kind in kinds[turn + 1:]):
        raise DeployError("Preprocess: the steps must be Resize, NormalizeImage and Pad, then Permute once, then "
                          f"PadStride; these are {', '.join(kind.__name__ for kind in kinds) or 'none'}")


def apply(ops: Sequence[Step], image: np.ndarray, name: object = "") -> tuple[np.ndarray, Info]:
    """Run the steps on an RGB image [H, W, 3] of 0..255. Returns (input [3, h, w] float32, info).

    Raises:
        PictureError: a step cannot be done on this picture, such as one that would become less than a pixel high;
            gives ``name``, else the size.
    """
    rows, columns = image.shape[:2]
    info = {"im_shape": np.array(image.shape[:2], np.float32), "scale_factor": np.ones(2, np.float32)}
    for op in ops:
        try:
            image, info = op(image, info)
        except cv2.error:
            raise PictureError(f"cannot prepare {repr(str(name)) if name else 'a picture'} of {rows}x{columns}: "
                               f"{type(op).__name__} makes nothing of it") from None
    return image, info
