# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``memory_cache: 2GB`` of a reader: decoded pictures stay in memory, up to a limit, and are read once in a run.

ppdet makes new workers for each epoch, so what a worker keeps for itself is lost. The pictures lie in one block of
memory that all workers share (they are forked from the process that made it). It is there once, however many they are.

Each picture has its place from the start, by the size that the annotations say. Where decoding gives another number of
bytes, the picture is decoded each time. A place is read only in a later epoch than it was written in: what one worker
writes, another need not see at once.
"""
from __future__ import annotations

import logging
import mmap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..config.values import memory_bytes

logger = logging.getLogger("ppdet.engine")
KEY = "memory_cache"
#: epochs are told apart modulo this, 0 says that a place is empty
EPOCHS = 250


def places(records: Iterable[Mapping[str, Any]], limit: int) -> tuple[dict[str, tuple[int, int]], int]:
    """Where each picture would lie.

    Args:
        records: ppdet's, with 'im_file', 'w' and 'h'.
        limit: bytes.

    Returns:
        {file: (first byte, bytes)} of those that fit, and the number of different files.
    """
    found: dict[str, tuple[int, int]] = {}
    files, end = set(), 0
    for record in records:
        file, size = record.get("im_file"), int(3 * record.get("w", 0) * record.get("h", 0))
        if file is None or file in files:
            continue
        files.add(file)
        if 0 < size <= limit - end:
            found[file] = end, size
            end += size
    return found, len(files)


def planned(reader: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> int:
    """Bytes that the cache of a reader's section will take once it is full."""
    limit = memory_bytes(reader.get(KEY))
    return sum(size for _, size in places(records, limit)[0].values()) if limit else 0


class MemoryCache:
    """Pictures as they are decoded, uint8 [H, W, 3].

    Args:
        records: ppdet's, with 'im_file', 'w' and 'h'.
        limit: bytes.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]], limit: int) -> None:
        self.places, self.files = places(records, limit)
        self.bytes = sum(size for _, size in self.places.values())
        self.numbers = {file: number for number, file in enumerate(self.places)}
        # pages count only once they are written; shared with what is forked, and not in /dev/shm
        self.pixels = np.frombuffer(mmap.mmap(-1, max(self.bytes, 1)), np.uint8)
        self.sides = np.frombuffer(mmap.mmap(-1, 8 * max(len(self.places), 1)), np.int32).reshape(-1, 2)
        self.written = np.frombuffer(mmap.mmap(-1, max(len(self.places), 1)), np.uint8)

    def get(self, file: str, epoch: int, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """A picture of its own memory: a copy of what is kept, else what ``decode`` gives, which is kept."""
        number = self.numbers.get(file)
        if number is None:
            return decode()
        first, size = self.places[file]
        mark = 1 + epoch % EPOCHS
        if self.written[number] not in (0, mark):
            return self.pixels[first:first + size].reshape(*self.sides[number], 3).copy()
        image = decode()
        if image.nbytes == size and image.dtype == np.uint8 and not self.written[number]:
            self.pixels[first:first + size] = image.reshape(-1)
            self.sides[number] = image.shape[:2]
            self.written[number] = mark
        return image


def attach(reader: Any, dataset: Any) -> None:
    """Give a reader's Decode the cache that its ``memory_cache`` asks for, and say how much fits.

    Args:
        reader: ppdet's, before it begins.
        dataset: parsed.
    """
    limit = memory_bytes(reader.kwargs.get(KEY))
    records = getattr(dataset, "roidbs", None)
    if not limit or not records:
        return
    cache = MemoryCache(records, limit)
    reader.memory_cache = cache
    for transform in reader._sample_transforms.transforms_cls:
        decode = getattr(transform, "transform", transform)
        if type(decode).__name__ == "Decode":
            decode.memory_cache, decode.cached_dataset = cache, dataset
    logger.info("%s.%s: %d of %d pictures fit into %s (%.0f MiB once all are read)", type(reader).__name__, KEY,
                len(cache.places), cache.files, reader.kwargs[KEY], cache.bytes / 2 ** 20)
