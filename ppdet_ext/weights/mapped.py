# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Weight files as arrays that lie in the file: only what is looked at takes memory, and it can be given back."""
from __future__ import annotations

import mmap
from typing import Any, BinaryIO

import numpy as np


def map_file(file: BinaryIO) -> np.ndarray:
    """The bytes of an open file as one uint8 array, which cannot be written; views of it keep the mapping alive.

    Raises:
        ValueError: the file is empty.
    """
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.ndarray(len(mapping), np.uint8, mapping)


def release(array: Any) -> None:
    """Let the system take back the memory of the file that ``array`` is a view of; it stays readable.

    Arrays that lie in no file, and systems that cannot do it, are left alone.
    """
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    if array is not None and hasattr(array, "madvise"):
        array.madvise(mmap.MADV_DONTNEED)
