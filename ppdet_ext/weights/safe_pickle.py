# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Reading pickled data from outside safely: only what an allow-list names is ever looked up, nothing else runs.

numpy's names have stand-ins: numpy's own __setstate__ trusts its input down to raw pointers. Only numbers (bool, int,
uint, float) become arrays, and only from bytes. Format: numpy's array_reduce (methods.c) and arraydescr_reduce
(descriptor.c).
"""
from __future__ import annotations

import pickle
import re
from typing import Any, BinaryIO, Callable

import numpy as np

ORDERS = ("<", ">", "|", "=")


class Forbidden(pickle.UnpicklingError):
    """The pickle wants something the allow-list does not name."""


class AllowListUnpickler(pickle.Unpickler):
    """A ``pickle.Unpickler`` that resolves ``module.name`` only through the table ``allowed``.

    Args:
        file: binary file at the pickle's first byte.
        allowed: ``{'module.name': object}``; the objects stand in for the real ones.
        persistent: what a persistent id becomes; none are accepted where it is None.

    Raises:
        Forbidden: (from ``load``) a global outside the table, or a persistent id where none is expected.
    """

    def __init__(self, file: BinaryIO, allowed: dict[str, Any], persistent: Callable[[Any], Any] | None = None):
        super().__init__(file)
        self._allowed = allowed
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[f"{module}.{name}"]
        except KeyError:
            raise Forbidden(f"it holds {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise Forbidden("it holds a persistent id")
        return self._persistent(pid)


class Dtype:
    """Stands in for ``numpy.dtype``: a name such as 'f4' and a byte order."""
    __slots__ = ("name", "order")

    def __init__(self, name: str, *_flags: Any):
        self.name, self.order = name, "="

    def __setstate__(self, state):
        self.order = state[1]

    def real(self) -> np.dtype:
        """The numpy.dtype.

        Raises:
            Forbidden: it is not one of plain numbers.
        """
        if not isinstance(self.name, str) or not re.fullmatch(r"[biuf]\d{1,2}", self.name) or self.order not in ORDERS:
            raise Forbidden(f"it holds an array of type {self.name!r}, not of numbers")
        return np.dtype(self.order + self.name)


class Array:
    """Stands in for ``numpy.ndarray``; ``value`` is the array."""
    __slots__ = ("value",)

    def __setstate__(self, state):
        _version, shape, dtype, fortran, data = state
        self.value = _numbers(dtype, data).reshape(shape, order="F" if fortran else "C")


def _numbers(dtype, data):
    """A writable array of its own, one-dimensional."""
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes):
        raise Forbidden("it holds an array that is not made of bytes")
    return np.array(np.frombuffer(data, dtype.real()))


def _scalar(dtype, data):
    return _numbers(dtype, data).reshape(())[()]


def _reconstruct(_kind, _shape, _code):
    return Array()


def _no_bytes():
    return b""


def _encode(text, encoding):
    if encoding != "latin1":  # how pickles older than protocol 3 hold bytes; other codecs could do anything
        raise Forbidden(f"it holds text in the encoding {encoding!r}")
    return text.encode("latin1")


NUMPY = {
    "_codecs.encode": _encode,
    "__builtin__.bytes": _no_bytes,  # how those hold none
    "numpy.dtype": Dtype,
    "numpy.ndarray": Array,
    **{f"numpy.{core}.multiarray.{name}": function for core in ("core", "_core")
       for name, function in (("_reconstruct", _reconstruct), ("scalar", _scalar))},
}


def with_arrays(value: Any) -> Any:
    """``value`` with each Array in its dicts, lists and tuples replaced by the numpy array."""
    if isinstance(value, Array):
        return value.value
    if isinstance(value, dict):
        return {key: with_arrays(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(with_arrays, value))
    return value
