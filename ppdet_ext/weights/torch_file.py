# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""torch.save files (the zip format and the one before it) read without torch, through an allow-list.

Only tensors, containers and plain values are known. Classes that a file names are never looked up: see
``foreign_objects``. Format: torch/serialization.py.
"""
from __future__ import annotations

import dataclasses
import io
import math
import os
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..limits import refuse, tensor_bytes
from . import foreign_objects
from .mapped import map_file
from .safe_pickle import NUMPY, AllowListUnpickler, Array, Forbidden, flat_tuple, mapping, unfold

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
BFLOAT16 = "bfloat16"

# storage class -> element type; bfloat16 has no numpy type and is widened to float32
STORAGES = {
    "DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16, "BFloat16Storage": BFLOAT16,
    "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8,
    "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}


class Program(Forbidden):
    """The file is a TorchScript program."""


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

    def __setstate__(self, state):
        raise Forbidden("it changes a tensor")

    @property
    def nbytes(self) -> int:
        """Of the array, were it laid out: with strides of 0 far more than the storage has."""
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or any(not isinstance(n, int) or n < 0 for n in numbers):
            raise ValueError("a tensor with a bad shape")
        return math.prod(self.shape) * np.dtype(np.float32 if self.storage.kind.dtype is BFLOAT16 else
                                                self.storage.kind.dtype).itemsize

    def array(self) -> np.ndarray:
        """The view as a numpy array that cannot be written; bounds are checked, as the numbers come from outside."""
        data, _ = self.storage.data, self.nbytes
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides))
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
    """Stands in for ``argparse.Namespace``, which training scripts save beside their weights; keeps nothing of it."""
    __slots__ = ()

    def __setstate__(self, state):
        pass


def _tensor(storage, offset, shape, strides, *_ignored):
    if not isinstance(storage, Storage):
        raise Forbidden("it holds a tensor without a storage")
    return TensorView(storage, offset, flat_tuple(shape), flat_tuple(strides))


ALLOWED = {
    "collections.OrderedDict": mapping,
    "collections.Counter": mapping,  # learning-rate schedules keep their milestones so
    "argparse.Namespace": Settings,
    "torch.Size": flat_tuple,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda data, *_ignored: data,
    **{f"torch.{name}": StorageType(dtype) for name, dtype in STORAGES.items()},
    **NUMPY,  # accuracies and states of random numbers that training scripts save beside their weights
    **foreign_objects.PLAIN,
}


def read(path: str | Path) -> Any:
    """The object saved in ``path``, each tensor in it an array that lies in the file (bfloat16 as float32).

    Raises:
        Forbidden: the file makes something else than tensors, containers and plain values by a call.
        TooMuch: reading it would cost more than ``limits`` allows.
        Exception: of many kinds, where the file is damaged; the caller names the file.
    """
    with open(path, "rb") as file:
        return _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)


def _unpickle(file, storages):
    """One pickle from ``file``; the storages it refers to are collected in ``storages`` by key."""

    def persistent(pid):
        if isinstance(pid, tuple) and pid[:1] == ("module",) and len(pid) == 4:  # a class with its source code
            return pid[1]
        tag, kind, key, _location, numel = pid[:5]
        if tag != "storage" or not isinstance(kind, StorageType) or any(pid[5:]):
            raise Forbidden("it holds an unknown kind of storage")
        return storages.setdefault(key, Storage(kind, key, numel))

    return AllowListUnpickler(file, ALLOWED, persistent, foreign_objects.Classes()).load()


def _read_zip(file):
    content, most = map_file(file), tensor_bytes(os.fstat(file.fileno()).st_size)
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > most:  # before anything is unpacked: zlib makes a thousand bytes of one
            refuse("EXPANSION", f"it unpacks to {unpacked} bytes, more than {most} for a file of its size")
        names = set(archive.namelist())
        pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise ValueError("no data.pkl in it")
        root = pickles[0][:-len("data.pkl")]
        if root + "constants.pkl" in names:
            raise Program("it is a TorchScript program")
        if root + "byteorder" in names and archive.read(root + "byteorder").decode() != sys.byteorder:
            raise Forbidden("it was written on a machine of another byte order")
        storages = {}
        result = _unpickle(io.BytesIO(archive.read(pickles[0])), storages)
        for key, storage in storages.items():
            record = _record(archive, archive.getinfo(f"{root}data/{key}"), content)
            storage.data = record.view(storage.kind.stored)
    return _with_arrays(result, most)


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
    return _with_arrays(result, tensor_bytes(len(content)))


def _with_arrays(content, most_bytes):
    """``content`` with arrays in place of tensors, lists of tuples, and flat dictionaries of modules."""
    return foreign_objects.states(unfold(content, lambda value: isinstance(value, (TensorView, Array)),
                                         lambda value: value.array(), most_bytes, list))
