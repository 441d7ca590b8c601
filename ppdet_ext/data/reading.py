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

import copy
import functools
import hashlib
import itertools
import logging
import os
import traceback
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ..deploy.image_files import decode_image, read_image
from ..deploy.image_formats import UnreadableImage
from ..errors import UserError

logger = logging.getLogger("ppdet.engine")

#: of lists of images and of labels; editors of Windows begin them with a byte order mark
LIST_ENCODING = "utf-8-sig"
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


def read_batch(reader: Any, records: Sequence[dict]) -> dict[str, Any]:
    """What one of ppdet's readers makes of some records, read here and now: numpy arrays, or lists of them.

    Raises:
        UserError: a picture cannot be read, or the transforms do not fit it.
    """
    samples = [reader._sample_transforms({**copy.deepcopy(record), "curr_iter": 0}) for record in records]
    return raise_if_failed(reader._batch_transforms(samples))


def read_places(reader: Any, dataset: Any, places: Sequence[int]) -> dict[str, Any]:
    """The same of pictures of a parsed data set, which in its epoch may mix others into them (Mosaic, Mixup, Cutmix).

    Raises:
        UserError: as ``read_batch``.
    """
    from . import transform_schedule  # loads Paddle, which other users of this file do without

    dataset.set_transform(reader._sample_transforms)
    dataset.set_kwargs(**reader.kwargs)
    transform_schedule.tell(reader, dataset)
    return raise_if_failed(reader._batch_transforms([dataset[place] for place in places]))


def parse_once(dataset: Any) -> None:
    """Read the annotations of a data set now; its reader, which will ask for that again, finds it done."""
    dataset.check_or_download_dataset()
    dataset.parse_dataset()
    dataset.parse_dataset = _read_already


def _read_already():
    """In place of a data set's ``parse_dataset``, which its reader calls again."""


def as_tensors(value: Any) -> Any:
    """The same with Paddle's tensors, as its DataLoader gives them; what is no array of numbers stays."""
    import paddle
    if isinstance(value, dict):
        return {key: as_tensors(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_tensors(entry) for entry in value]
    return paddle.to_tensor(value) if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" else value


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
    """For ``Decode.apply``: ``deploy.image_files`` reads the picture; an unreadable one is a UserError that names it.

    ppdet's own gives whatever bytes a file has to OpenCV.
    """
    @functools.wraps(apply)
    def strict(self, sample, context=None):
        from_file = "image" not in sample
        cache = getattr(self, "memory_cache", None)
        image = cache.get(sample["im_file"], self.cached_dataset._epoch, lambda: _image_of(sample)) \
            if cache is not None and from_file else _image_of(sample)
        if sample.get("keep_ori_im"):
            sample["ori_image"] = image[..., ::-1]
        for key, side in (("h", image.shape[0]), ("w", image.shape[1])):
            if sample.setdefault(key, side) != side:
                logger.warning("image %r: its %s is %d, not %s as annotated; %d is taken", _name_of(sample), key, side,
                               sample[key], side)
                sample[key] = side
        sample.update(image=image, im_shape=np.array(image.shape[:2], np.float32),
                      scale_factor=np.ones(2, np.float32))
        if from_file:
            sample.pop("im_file")
        return sample
    return strict


def _image_of(sample):
    """RGB [H, W, 3] of what ``image`` holds (pixels, or a file's content), else of the file ``im_file``."""
    given = sample.get("image")
    if isinstance(given, np.ndarray):
        return given
    try:
        return decode_image(given, sample.get("im_file", "a picture")) if given else read_image(sample["im_file"])
    except UnreadableImage as error:
        raise _unreadable(sample, error) from None


def _name_of(sample):
    return str(sample.get("im_file", f"of im_id {sample.get('im_id', '?')}"))


def _unreadable(sample, error):
    if not os.path.isfile(sample.get("im_file", os.devnull)) and "image" not in sample:
        return UserError(f"cannot open image {_name_of(sample)!r} ({error.reason})")
    return UserError(f"image {_name_of(sample)!r} is unreadable: {error.reason}; mend it or take it out of the "
                     "annotation file")


def naming_the_image(apply: Callable) -> Callable:
    """For transforms that decode by themselves (see ``only_safe_decoders``): an error names the image."""
    @functools.wraps(apply)
    def named(self, sample, context=None):
        before = dict(sample)
        try:
            return apply(self, sample, context)
        except UnreadableImage as error:
            raise _unreadable(before, error) from None
        except OSError as error:
            raise UserError(f"image {_name_of(before)!r} is unreadable: {error.strerror}") from None
    return named


def only_safe_decoders(opencv: ModuleType) -> ModuleType:
    """For the ``cv2`` of a module of ppdet: the same, but ``imdecode`` and ``imread`` are those of this project.

    Both give BGR [H, W, 3] uint8, whatever the flag says: ppdet asks for nothing else there.
    """
    module = ModuleType("cv2")
    vars(module).update(vars(opencv))
    module.imdecode = lambda data, flags: decode_image(np.asarray(data).tobytes())[..., ::-1]  # type: ignore[attr-defined]
    module.imread = lambda path, flags=1: read_image(path)[..., ::-1]  # type: ignore[attr-defined]
    return module


def cache_of_whole_path(cache_path: Callable) -> Any:
    """For ``DecodeCache.cache_path``: pictures of one name in two folders have two files."""
    def path(dir_oot, im_file):
        place = hashlib.sha256(os.path.abspath(im_file).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        stem, suffix = os.path.splitext(cache_path(dir_oot, im_file))
        return f"{stem}.{place}{suffix}"
    return staticmethod(path)


def compose_safely(call: Callable) -> Callable:
    """For ``Compose.__call__`` (sample transforms): a failure is returned, not raised."""
    @functools.wraps(call)
    def safe(self, data):
        try:
            return _transformed(self.transforms_cls, data)
        except Exception as error:
            return Failure(error)
    return safe


def _transformed(transforms, data):
    """Data after transforms. ppdet's own ones raise whatever numpy or OpenCV do where their settings do not fit."""
    first = data[0] if isinstance(data, (list, tuple)) else data
    picture = f"'{first['im_file']}'" if "im_file" in first else f"im_id {np.ravel(first.get('im_id', '?'))[0]}"
    for transform in transforms:
        try:
            data = transform(data)
        except UserError:
            raise
        except Exception as error:
            inner = type(getattr(transform, "transform", transform))
            if not inner.__module__.startswith("ppdet."):
                raise
            raise UserError(f"transform {inner.__name__} failed on image {picture}: its settings do not fit it "
                            f"({type(error).__name__}: {' '.join(str(error).split())[:200]})") from None
    return data


def collate_safely(call: Callable) -> Callable:
    """For ``BatchCompose.__call__`` (batch transforms and collation): a failure becomes a batch, as does no object."""
    @functools.wraps(call)
    def safe(self, data):
        failed = next((sample for sample in data if isinstance(sample, Failure)), None)
        try:
            if failed:
                return failed.as_batch()
            alone = copy.copy(self)
            alone.transforms_cls = []
            return mark_empty(_collated(call, alone, _transformed(self.transforms_cls, data)))
        except Exception as error:
            return Failure(error).as_batch()
    return safe


def _collated(call, collate, data):
    shapes = {sample["image"].shape for sample in data if isinstance(sample, dict) and "image" in sample
              and hasattr(sample["image"], "shape")}
    if len(shapes) > 1:
        raise UserError(f"pictures of one batch have different sizes ({' and '.join(map(str, sorted(shapes)[:2]))}); "
                        "add a Resize to sample_transforms, or a BatchRandomResize or PadBatch to batch_transforms, or "
                        "set batch_size: 1")
    return call(collate, data)


def next_or_raise(call: Callable) -> Callable:
    """For ``BaseDataLoader.__next__``: raise a failure that came as a batch, give back arrays without rows."""
    @functools.wraps(call)
    def checked(self):
        return restore_empty(raise_if_failed(call(self)))
    return checked


def parse_and_clip(parse: Callable) -> Callable:
    """For ``COCODataSet.parse_dataset``: boxes are cut at the image's border, and those without an area left out.

    ``checks`` says how many there are of each.
    """
    @functools.wraps(parse)
    def clipped(self):
        parse(self)
        self.roidbs = [record for record in self.roidbs if _clip(record) or self.allow_empty]
    return clipped


def _clip(record):
    """Whether boxes are left, or there were none; the record is changed."""
    boxes = record.get("gt_bbox", ())
    if not len(boxes) or "w" not in record:
        return True
    boxes = np.clip(boxes, 0, np.array([record["w"], record["h"]] * 2, "float32"))
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
    if kept.all():
        record["gt_bbox"] = boxes
        return True
    for key in [key for key in record if key.startswith("gt_") or key == "is_crowd"]:
        values = boxes if key == "gt_bbox" else record[key]
        record[key] = list(itertools.compress(values, kept)) if isinstance(values, list) else values[kept]
    return bool(kept.any())


def parse_boxes(parse: Callable) -> Callable:
    """For ``COCODataSet.parse_dataset``: whether a box is there is not for its ``segmentation`` to decide.

    ppdet takes an empty outline ([[]], as some tools write for plain boxes) for a box to be left out: arrays then end
    in zeros, or the picture is gone. Outlines are kept where ``data_fields`` asks for them.
    """
    @functools.wraps(parse)
    def without_outlines(self):
        from pycocotools import coco

        class Boxes(coco.COCO):
            def createIndex(self):
                for annotation in self.dataset.get("annotations", ()):
                    annotation.pop("segmentation", None)
                super().createIndex()

        if "gt_poly" in self.data_fields:
            return parse(self)
        # ppdet imports it by name each time
        own, coco.COCO = coco.COCO, Boxes
        try:
            return parse(self)
        finally:
            coco.COCO = own
    return without_outlines


def open_with_mark(open_file: Callable) -> Callable:
    """For the ``open`` of ppdet's modules that read lists: UTF-8, whatever the system's own is, without a BOM."""
    @functools.wraps(open_file)
    def opened(path, mode="r", *args, **settings):
        return open_file(path, mode, *args, **settings) if "b" in mode or args or "encoding" in settings else \
            open_file(path, mode, encoding=LIST_ENCODING, **settings)
    return opened


def split_readable(paths: Sequence[str], prepare: Callable[[dict], Any] | None = None
                   ) -> tuple[list[str], list[tuple[str, str]]]:
    """Split image files into those that can be used and those that cannot (each is decoded once).

    Args:
        paths: file paths.
        prepare: a reader's sample transforms (``Compose``), tried on each; None: the files are decoded.

    Returns:
        (good, skipped): the usable paths in their order, and [(path, reason)] for the others.
    """
    good, skipped = [], []
    for path in paths:
        reason = _why_unreadable(path, prepare)
        if reason:
            skipped.append((path, reason))
        else:
            good.append(path)
    return good, skipped


def _why_unreadable(path, prepare):
    if not os.path.exists(path):
        return "no such file"
    try:
        image = read_image(path)
    except UnreadableImage as error:
        return error.reason
    if prepare is None:
        return None
    made = prepare({"im_id": np.array([0]), "im_file": path, "image": image, "curr_iter": 0})
    if isinstance(made, Failure):
        return f"{image.shape[1]}x{image.shape[0]}: {made.text.strip().splitlines()[-1][:300]}"
    return None
