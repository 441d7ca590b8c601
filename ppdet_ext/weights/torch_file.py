# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""torch.save files (the zip format and the one before it) read without torch, through an allow-list.

Only tensors, containers and plain values are known; whatever else a file names is refused, never run.
Format: torch/serialization.py.
"""
from __future__ import annotations

import collections
import dataclasses
import os
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .mapped import map_file
from .safe_pickle import AllowListUnpickler, Forbidden

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
BFLOAT16 = "bfloat16"

# storage class -> element type; bfloat16 has no numpy type and is widened to float32
STORAGES = {
    "DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16, "BFloat16Storage": BFLOAT16,
    "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8,
    "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}


class StorageType(NamedTuple):
    """What ``torch.FloatStorage`` and its like become while unpickling; has no ``__dict__`` a pickle could write."""
    dtype: Any  # a numpy type, or BFLOAT16

    @property
    def stored(self) -> np.dtype:
        """What its elements are in the file."""
        return np.dtype(np.uint16 if self.dtype is BFLOAT16 else self.dtype)


@dataclasses.dataclass
class Storage:
    """A flat block of numbers; ``data`` is filled in once the pickle has been read."""
    kind: StorageType
    key: str
    numel: int
    data: np.ndarray | None = None


@dataclasses.dataclass
class TensorView:
    """A tensor as torch writes it: a strided view of a storage (offset and strides in elements)."""
    storage: Storage
    offset: int
    shape: tuple
    strides: tuple

    def array(self) -> np.ndarray:
        """The view as a numpy array that cannot be written; bounds are checked, as the numbers come from outside."""
        data = self.storage.data
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides))
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or any(not isinstance(n, int) or n < 0 for n in numbers):
            raise ValueError("a tensor with a bad shape")
        if 0 in self.shape:
            return np.empty(self.shape, self.storage.kind.stored)
        if data is None or last >= len(data):
            raise ValueError("a tensor that reaches past its storage")
        steps = [step * data.itemsize for step in self.strides]
        view = np.lib.stride_tricks.as_strided(data[self.offset:], self.shape, steps, writeable=False)
        return widen_bfloat16(view) if self.storage.kind.dtype is BFLOAT16 else view


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """bfloat16 bit patterns (uint16) -> float32 of the same values; exact."""
    return (np.ascontiguousarray(bits).astype(np.uint32) << 16).view(np.float32).reshape(bits.shape)


class Settings:
    """Stands in for ``argparse.Namespace``, which training scripts save beside their weights."""


def _tensor(storage, offset, shape, strides, *_ignored):
    return TensorView(storage, offset, tuple(shape), tuple(strides))


ALLOWED = {
    "collections.OrderedDict": collections.OrderedDict,
    "collections.Counter": dict,  # learning-rate schedules keep their milestones so
    "argparse.Namespace": Settings,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda data, *_ignored: data,
    **{f"torch.{name}": StorageType(dtype) for name, dtype in STORAGES.items()},
}


def read(path: str | Path) -> Any:
    """The object saved in ``path``, each tensor in it an array that lies in the file (bfloat16 as float32).

    Raises:
        Forbidden: the file holds something else than tensors, containers and plain values.
        Exception: of many kinds, where the file is damaged; the caller names the file.
    """
    with open(path, "rb") as file:
        return _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)


def _unpickle(file, storages):
    """One pickle from ``file``; the storages it refers to are collected in ``storages`` by key."""

    def persistent(pid):
        tag, kind, key, _location, numel = pid[:5]
        if tag != "storage" or not isinstance(kind, StorageType) or any(pid[5:]):
            raise Forbidden("it holds an unknown kind of storage")
        return storages.setdefault(key, Storage(kind, key, numel))

    return AllowListUnpickler(file, ALLOWED, persistent).load()


def _read_zip(file):
    content = map_file(file)
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise ValueError("no data.pkl in it")
        root = pickles[0][:-len("data.pkl")]
        if root + "constants.pkl" in names:
            raise Forbidden("it is a TorchScript program, not a state_dict")
        if root + "byteorder" in names and archive.read(root + "byteorder").decode() != sys.byteorder:
            raise Forbidden("it was written on a machine of another byte order")
        storages = {}
        with archive.open(pickles[0]) as data:
            result = _unpickle(data, storages)
        for key, storage in storages.items():
            record = _record(archive, archive.getinfo(f"{root}data/{key}"), content)
            storage.data = record.view(storage.kind.stored)
    return _with_arrays(result)


def _record(archive, entry, content):
    """The bytes of one file of an archive, where not compressed as a view of ``content``; their sum is checked.

    Format: PKWARE's appnote, 4.3.7: 30 bytes of which the last four are the lengths of two texts that follow.
    """
    if entry.compress_type != zipfile.ZIP_STORED:
        return np.frombuffer(archive.read(entry), np.uint8)
    with archive.open(entry) as record:
        while record.read(1 << 20):
            pass
    name, extra = struct.unpack("<HH", content[entry.header_offset + 26:entry.header_offset + 30].tobytes())
    start = entry.header_offset + 30 + name + extra
    return content[start:start + entry.file_size]


def _read_legacy(file):
    file.seek(0)
    content, storages = map_file(file), {}
    if _unpickle(file, {}) != LEGACY_MAGIC or _unpickle(file, {}) != LEGACY_PROTOCOL:
        raise ValueError("not a torch.save file")
    system = _unpickle(file, {})
    if not system["little_endian"] or sys.byteorder != "little":
        raise Forbidden("it was written on a machine of another byte order")
    result = _unpickle(file, storages)
    for key in _unpickle(file, {}):
        storage = storages[key]
        numel = int.from_bytes(file.read(8), "little")
        start, size = file.tell(), numel * storage.kind.stored.itemsize
        if start + size > len(content):
            raise EOFError("it ends early")
        storage.data = content[start:file.seek(size, os.SEEK_CUR)].view(storage.kind.stored)
    return _with_arrays(result)


def _with_arrays(value):
    """``value`` with each TensorView replaced by its array, through dicts, lists and tuples."""
    if isinstance(value, TensorView):
        return value.array()
    if isinstance(value, dict):
        return {key: _with_arrays(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_arrays(item) for item in value]
    return value
