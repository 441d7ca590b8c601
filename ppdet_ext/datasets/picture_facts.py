# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the picture files themselves say: size, EXIF orientation, content, looks, and whether they can be read at all.

Every file is decoded to its end, as small as its decoder makes it, by one process for each core.
"""
from __future__ import annotations

import concurrent.futures
import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import cv2

from .. import files
from ..deploy.image_files import read_grey, upright_size
from ..deploy.image_formats import UnreadableImage
from ..errors import UserError
from ..startup.environment import cores
from . import picture_hash

#: files that one process is given at a time; fewer than FEW of them are read here, as processes take time to start
PIECE, FEW = 64, 256
#: no side of the small picture for the hash is shorter, in pixels
LEAST_SIDE = 32


@dataclass(frozen=True)
class Facts:
    """Of one picture file.

    Attributes:
        reason: why it cannot be read; '' where it can, and only then the others mean anything.
        width, height: pixels of the upright picture, as training reads it.
        orientation: EXIF's, from 1 (upright) to 8.
        digest: sha256 of the file.
        look, small: see ``picture_hash.fingerprint``.
    """

    reason: str = ""
    width: int = 0
    height: int = 0
    orientation: int = 1
    digest: str = ""
    look: int = 0
    small: bytes = b""


def of_file(path: str | Path) -> Facts:
    """Read one file."""
    try:
        width, height, orientation = upright_size(path)
        return Facts("", width, height, orientation, files.sha256(path),
                     *picture_hash.fingerprint(read_grey(path, LEAST_SIDE)))
    except UnreadableImage as error:
        return Facts(error.reason)
    except OSError as error:  # it changed while it was read
        return Facts(error.strerror or str(error))


def of_files(paths: Sequence[str | Path], workers: int | None = None) -> Iterator[Facts]:
    """The facts of many files, in their order, as they come.

    Args:
        workers: processes; None: one for each core.

    Raises:
        UserError: a process died, for want of memory most likely.
    """
    workers = cores() if workers is None else workers
    if workers < 2 or len(paths) < FEW:
        yield from map(of_file, paths)
        return
    pieces = [[str(path) for path in paths[start:start + PIECE]] for start in range(0, len(paths), PIECE)]
    # a new interpreter each: a copy of this one would have its threads' locks, but not its threads
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
        try:
            yield from itertools.chain.from_iterable(pool.map(_of_piece, pieces))
        except BrokenProcessPool:
            raise UserError("a process that reads pictures was ended from outside, mostly for want of memory; give "
                            "--workers 1") from None


def _of_piece(paths: Sequence[str]) -> list[Facts]:
    return [of_file(path) for path in paths]
