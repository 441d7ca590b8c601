# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Reading images so that a failure is told: which file, in one line, whatever thread or process met it.

ppdet's ``Decode`` swallows the error of an unreadable image and forgets its name; an exception inside Paddle's
DataLoader hangs training for ever with ``worker_num: 0`` and ends as a nameless SystemError otherwise (Paddle 3.3.1,
2.6.2). So failures travel to the main process as data: a sample becomes a ``Failure``, the batch
carries its text, and the reader's ``__next__`` raises. Shared memory cannot carry an array without elements either, so
the boxes of an image without objects travel as one row that is marked. ``patches/ppdet.py`` says where each
wrapper goes.
"""
from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import UserError

_EMPTY = "ppdet_ext_empty"
_KEYS = {True: "ppdet_ext_user_error", False: "ppdet_ext_error"}


class Failure:
    """Stands for a sample that could not be made; ``text`` says why, ``user`` whether it is the user's to mend."""

    def __init__(self, error: Exception):
        self.user = isinstance(error, UserError)
        self.text = str(error) if self.user else "".join(
            traceback.format_exception(type(error), error, error.__traceback__))

    def as_batch(self) -> dict[str, np.ndarray]:
        """The batch that carries it through Paddle's queues: {key: uint8 [n]}."""
        return {_KEYS[self.user]: np.frombuffer(self.text.encode(), "uint8").copy()}


def raise_if_failed(batch: Any) -> Any:
    """Raise what a worker met: UserError for a user's mistake, else RuntimeError with the worker's traceback."""
    for user, key in _KEYS.items():
        if isinstance(batch, dict) and key in batch:
            text = np.asarray(batch[key]).tobytes().decode()
            raise UserError(text) if user else RuntimeError(f"while reading data: {text}")
    return batch


def mark_empty(batch: dict) -> dict:
    """Give arrays without rows one row of zeros, and note which these are; in place."""
    lists = {key: value for key, value in batch.items() if isinstance(value, list)}
    marks = {key: np.array([isinstance(item, np.ndarray) and item.size == 0 for item in value], "uint8")
             for key, value in lists.items()}
    for key, mark in marks.items():
        for place in np.flatnonzero(mark):
            array = lists[key][place]
            lists[key][place] = np.zeros((1, *array.shape[1:]), array.dtype)
    marks = {key: mark for key, mark in marks.items() if mark.any()}
    return {**batch, _EMPTY: marks} if marks else batch


def restore_empty(batch: Any) -> Any:
    """Take the rows of ``mark_empty`` out of a batch of tensors; in place."""
    import paddle
    for key, mark in (batch.pop(_EMPTY, {}) if isinstance(batch, dict) else {}).items():
        for place in np.flatnonzero(np.asarray(mark)):
            filled = batch[key][place]
            batch[key][place] = paddle.zeros([0, *filled.shape[1:]], dtype=filled.dtype)
    return batch


def decode_strictly(apply: Callable) -> Callable:
    """For ``Decode.apply``: an unreadable image is a UserError that names the file."""
    @functools.wraps(apply)
    def strict(self, sample, context=None):
        path = sample.get("im_file", f"of im_id {sample.get('im_id', '?')}")
        try:
            return apply(self, sample, context)
        except OSError as error:
            raise UserError(f"cannot open image '{path}' ({error.strerror})") from None
        except (AttributeError, ValueError, cv2.error):
            # the decoder failed, and ppdet went on to ask the undecoded bytes for their shape
            raise UserError(f"image '{path}' is unreadable: broken, or not an image; mend it or take it out of the "
                            "annotation file") from None
    return strict


def compose_safely(call: Callable) -> Callable:
    """For ``Compose.__call__`` (sample transforms): a failure is returned, not raised."""
    @functools.wraps(call)
    def safe(self, data):
        try:
            for transform in self.transforms_cls:
                data = transform(data)
            return data
        except Exception as error:
            return Failure(error)
    return safe


def collate_safely(call: Callable) -> Callable:
    """For ``BatchCompose.__call__`` (batch transforms and collation): a failure becomes a batch, as does no object."""
    @functools.wraps(call)
    def safe(self, data):
        failed = next((sample for sample in data if isinstance(sample, Failure)), None)
        try:
            return failed.as_batch() if failed else mark_empty(call(self, data))
        except Exception as error:
            return Failure(_different_sizes(data) or error).as_batch()
    return safe


def _different_sizes(samples):
    """The UserError for pictures that cannot be one batch; None where that is not what failed."""
    shapes = [sample["image"].shape for sample in samples if isinstance(sample.get("image"), np.ndarray)]
    other = next((shape for shape in shapes if shape != shapes[0]), None)
    return other and UserError(
        f"the pictures of one batch differ in size after the reader's transforms: {_size(shapes[0])} and "
        f"{_size(other)}; set keep_ratio: False where they are resized, or batch_transforms: "
        "[PadBatch: {pad_to_stride: 32}] (with DETRPostProcess.bbox_decode_type: pad)")


def _size(shape):
    return "x".join(map(str, shape))


def next_or_raise(call: Callable) -> Callable:
    """For ``BaseDataLoader.__next__``: raise a failure that came as a batch, give back arrays without rows."""
    @functools.wraps(call)
    def checked(self):
        return restore_empty(raise_if_failed(call(self)))
    return checked


def parse_and_clip(parse: Callable) -> Callable:
    """For ``COCODataSet.parse_dataset``: boxes are cut at the image's border (``checks`` says how many reach over)."""
    @functools.wraps(parse)
    def clipped(self):
        parse(self)
        for record in self.roidbs:
            if len(record.get("gt_bbox", ())) and "w" in record:
                limits = np.array([record["w"], record["h"]] * 2, "float32")
                record["gt_bbox"] = np.clip(record["gt_bbox"], 0, limits)
    return clipped


def split_readable(paths: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Split image files into those that decode and those that do not (each is decoded once).

    Args:
        paths: file paths.

    Returns:
        (good, skipped): the readable paths in their order, and [(path, reason)] for the others.
    """
    good, skipped = [], []
    for path in paths:
        reason = _why_unreadable(path)
        if reason:
            skipped.append((path, reason))
        else:
            good.append(path)
    return good, skipped


def _why_unreadable(path):
    if not Path(path).is_file():
        return "no such file"
    try:
        content = np.fromfile(path, "uint8")
    except OSError as error:
        return error.strerror
    if not len(content):
        return "the file is empty"
    return None if cv2.imdecode(content, cv2.IMREAD_COLOR) is not None else "broken, or not an image"
