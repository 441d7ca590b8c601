# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pictures to learn from the teacher by: a folder's or the training set's, with its features, from disk where faster.
"""
from __future__ import annotations

import itertools
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from ppdet.core.workspace import create
from ppdet.data.source.dataset import DetDataset

from ..data import worker_threads
from ..data.reading import parse_once
from ..deploy import media
from ..errors import UserError
from .teacher import Normalization, Teacher

log = logging.getLogger("ppdet.engine")
AUTO = "auto"
TRIALS = 3  # batches whose times decide; the first is not counted
GB = 2 ** 30


class Pictures(DetDataset):
    """Pictures as a data set, with the boxes that are given for each, or without any.

    Args:
        paths: of the files.
        boxes: for each (classes [N], boxes [N, 4] as x1, y1, x2, y2 in pixels); None: no objects.
    """

    def __init__(self, paths: list[str], boxes: list[tuple[np.ndarray, np.ndarray]] | None = None) -> None:
        super().__init__()
        none = np.zeros(0), np.zeros((0, 4))
        self.roidbs: list[dict[str, Any]] = [self.record(number, path, *given) for number, (path, given) in enumerate(
            zip(paths, boxes or itertools.repeat(none)))]

    @staticmethod
    def record(number: int, path: str, classes: Sequence[int] | np.ndarray, boxes: Any) -> dict[str, Any]:
        """A picture as ppdet's data sets have it."""
        count = len(classes)
        return {"im_id": np.array([number]), "im_file": str(path), "is_crowd": np.zeros((count, 1), "int32"),
                "gt_class": np.asarray(classes, "int32").reshape(-1, 1), "gt_bbox": np.asarray(boxes, "float32"),
                "gt_score": np.ones((count, 1), "float32")}

    @classmethod
    def of_records(cls, records: list[dict[str, Any]]) -> Pictures:
        """Those of another data set, parsed."""
        found = cls([])
        found.roidbs = records
        return found

    def check_or_download_dataset(self) -> None:
        """They are there."""

    def parse_dataset(self) -> None:
        """There is nothing to parse."""


def in_folder(folder: str | Path, key: str = "images") -> list[str]:
    """Paths of the pictures in a folder that the setting ``key`` names; UserError where there is none."""
    if not Path(folder).expanduser().is_dir():
        raise UserError(f"swap_backbone.{key}: there is no folder '{folder}'")
    found = media.images_in(Path(folder).expanduser(), log.warning)
    if not found:
        raise UserError(f"swap_backbone.{key}: no image ({', '.join(media.IMAGE_SUFFIXES)}) in '{folder}'")
    return [str(path) for path in found]


def reader(cfg: dict[str, Any], images: str | None = None, records: list[dict[str, Any]] | None = None) -> Any:
    """TrainReader, with its own transforms, over the pictures of a folder, of records, or of TrainDataset.

    Raises:
        UserError: there are fewer pictures than a batch has.
    """
    dataset = Pictures(in_folder(images)) if images else Pictures.of_records(records or _of_train_dataset())
    found = create("TrainReader")(dataset, cfg["worker_num"])
    if not len(found):
        raise UserError(f"swap_backbone: {len(dataset)} pictures are fewer than TrainReader.batch_size "
                        f"({found.batch_size}); name a folder with more (images: DIR), or make it smaller")
    return found


def _of_train_dataset():
    dataset = create("TrainDataset")()
    parse_once(dataset)
    return dataset.roidbs


class Batches:
    """Batches without end: pictures as the new network wants them, and the teacher's features of them.

    Whether the first pass over the pictures is kept on disk, in half precision, and shown again, is decided by what a
    batch takes either way. What is kept is seen as it was augmented at first. ``close`` removes it.

    Args:
        source: gives a pass of batches each time it is iterated over, as TrainReader does.
        teacher: the old detector.
        own: what the pictures are normalised with.
        needed: how many batches will be taken.
        folder: where the files go.
        cache: whether there are any; 'auto': where that is faster.
        most: bytes that they may take; half of what is free is never passed.
        seed: of the order in which they are shown again.
    """

    def __init__(self, source: Any, teacher: Teacher, own: Normalization, needed: int, folder: str | Path,
                 cache: bool | str = AUTO, most: float = 4 * GB, seed: int = 0) -> None:
        self.source, self.teacher, self.own = source, teacher, own
        self.per_pass = len(source)
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.most = min(most, shutil.disk_usage(folder).free / 2)
        self.keeps = bool(cache) and needed > self.per_pass
        self.asked, self.folder, self.kept = cache != AUTO and bool(cache), folder, 0
        self.bytes, self.seconds, self.random = 0.0, {"live": 0.0, "disk": 0.0}, np.random.RandomState(seed)
        self._place: Any = None
        self._ended: Any = None  # the reader's iterator, once it is stopped
        self._batches = self._endless()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        return next(self._batches)

    def close(self) -> None:
        """Remove what is on disk, and end the reader's workers, which have read ahead."""
        self._stop_reading()
        self._clear()

    def _clear(self):
        if self._place is not None:
            self._place.cleanup()
            self._place = None

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _stop_reading(self):
        ahead = getattr(self.source, "loader", None)
        if ahead is not self._ended:
            self._ended = ahead
            worker_threads.stop(ahead)

    def _endless(self):
        for number in itertools.count():
            if number and self.keeps:
                self._stop_reading()
                yield from map(self._load, self.random.permutation(self.kept))
            else:
                self.source.dataset.set_epoch(number)
                yield from self._pass()

    def _pass(self):
        start = time.perf_counter()
        for data in self.source:
            image = data["image"]
            batch = image, self.teacher.features(image, self.own)
            float(batch[1][-1].sum())  # a GPU only queues up what is asked of it
            seconds = time.perf_counter() - start
            if self.keeps:
                self._store(batch, seconds)
            yield batch
            start = time.perf_counter()

    def _store(self, batch, seconds):
        """Keep a batch, and decide whether to go on so."""
        if self._place is None:
            self._place = tempfile.TemporaryDirectory(prefix="align_cache_", dir=self.folder)
        path = self._path(self.kept)
        np.savez(path, *(one.numpy().astype("float16") for one in (batch[0], *batch[1])))
        self.kept += 1
        self.bytes += path.stat().st_size
        if self.bytes * self.per_pass / self.kept > self.most and self.kept >= TRIALS:
            self._give_up(f"the pictures' features would take {self.bytes * self.per_pass / self.kept / GB:.1f} GB, "
                          f"more than the {self.most / GB:.1f} GB that they may (align_cache_gb, half the free disk)")
        elif 1 < self.kept <= TRIALS and not self.asked:
            start = time.perf_counter()
            float(self._load(self.kept - 1)[1][-1].sum())
            self.seconds["disk"] += time.perf_counter() - start
            self.seconds["live"] += seconds
            if self.kept == TRIALS:
                self._decide()

    def _decide(self):
        live, disk = (self.seconds[name] / (TRIALS - 1) for name in ("live", "disk"))
        times = f"a batch takes {live:.3f} s to read and show the teacher, {disk:.3f} s to take from disk"
        if live <= disk:
            self._give_up(times)
        else:
            log.info(f"alignment: {times}: the teacher sees each picture once, and its features are kept "
                     f"({self.bytes * self.per_pass / self.kept / GB:.2f} GB in '{self._place.name}')")

    def _give_up(self, why):
        log.info(f"alignment: {why}: the teacher sees pictures each time anew, and nothing is kept on disk")
        self.keeps = False
        self._clear()

    def _path(self, number):
        return Path(self._place.name) / f"{number}.npz"

    def _load(self, number):
        with np.load(self._path(number)) as kept:  # arrays only: it unpickles nothing
            image, *theirs = (paddle.to_tensor(kept[name].astype("float32")) for name in kept.files)
        return image, theirs
