# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Reading pickled data from outside safely: only what an allow-list names is ever looked up, nothing else runs.

numpy's names have stand-ins: numpy's own __setstate__ trusts its input down to raw pointers. Only numbers (bool, int,
uint, float) become arrays, and only from bytes. Format: numpy's array_reduce (methods.c) and arraydescr_reduce
(descriptor.c). ``pickle_cost`` counts what a pickle would cost before it is unpickled.
"""
from __future__ import annotations

import pickle
import re
from collections.abc import Sized
from typing import Any, BinaryIO, Callable, NamedTuple

import numpy as np

from ..limits import limit, refuse
from .pickle_cost import ensure_cheap

ORDERS = ("<", ">", "|", "=")


class Forbidden(pickle.UnpicklingError):
    """The pickle wants something the allow-list does not name."""


class AllowListUnpickler(pickle.Unpickler):
    """A ``pickle.Unpickler`` that resolves ``module.name`` only through the table ``allowed``.

    Args:
        file: binary file at the pickle's first byte.
        allowed: ``{'module.name': object}``; the objects stand in for the real ones.
        persistent: what a persistent id becomes; none are accepted where it is None.
        foreign: what a global outside the table becomes, by 'module.name'; none are accepted where it is None.

    Raises:
        Forbidden: (from ``load``) a global outside the table, or a persistent id, where none is expected.
        TooMuch: (from ``load``) it would cost more than ``limits`` allows.
    """

    def __init__(self, file: BinaryIO, allowed: dict[str, Any], persistent: Callable[[Any], Any] | None = None,
                 foreign: Callable[[str], type] | None = None):
        super().__init__(file)
        self._file = file
        self._allowed = allowed
        self._persistent = persistent
        self._foreign = foreign
        self._given = 0  # items of all arguments of all calls
        self._most = limit("VALUES")

    def load(self) -> Any:
        self._most += ensure_cheap(self._file)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        try:
            found = self._allowed[f"{module}.{name}"]
        except KeyError:
            if self._foreign is not None:
                return self._foreign(f"{module}.{name}")
            raise Forbidden(f"it holds {module}.{name}") from None
        return found if isinstance(found, type) or not callable(found) else self._counted(found)

    def _counted(self, function):
        """``function``, which may copy its arguments: a pickle can give it the same large one again and again.

        Types are left as they are: those of the tables look at nothing that is given to them.
        """
        def call(*args):
            self._given += sum(len(arg) for arg in args if isinstance(arg, Sized))
            if self._given > self._most:
                refuse("VALUES", "it copies the same values again and again")
            return function(*args)
        return call

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
    """Stands in for ``numpy.ndarray``; ``view`` is an array over the pickle's bytes, which many may share."""
    __slots__ = ("view",)

    def __setstate__(self, state):
        _version, shape, dtype, fortran, data = state
        self.view = _numbers(dtype, data).reshape(shape, order="F" if fortran else "C")

    @property
    def nbytes(self) -> int:
        """Of the array."""
        return self.view.nbytes

    def array(self) -> np.ndarray:
        """A writable array of its own."""
        return np.array(self.view)


class Mapping(dict):
    """Stands in for ``collections.OrderedDict``, the attributes of which (torch's ``_metadata``) are not kept."""
    __slots__ = ()

    def __setstate__(self, state):
        pass


def mapping(pairs: Any = ()) -> Mapping:
    """What ``collections.OrderedDict`` and ``Counter`` make."""
    return Mapping(pairs)


def flat_tuple(items: Any = ()) -> tuple:
    """What ``tuple`` makes, of no other tuples: ``pickle_cost`` does not see those, and they are hashed as a whole."""
    if any(isinstance(item, tuple) for item in items):
        raise Forbidden("it makes tuples of tuples")
    return tuple(items)


def _numbers(dtype, data):
    """A read-only array of one dimension."""
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes):
        raise Forbidden("it holds an array that is not made of bytes")
    return np.frombuffer(data, dtype.real())


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


class Part(NamedTuple):
    """A value as ``unfold`` made it; the counts are of it and all in it, as if nothing were shared."""
    value: Any
    values: int = 1
    bytes: int = 0
    height: int = 0


def unfold(content: Any, is_tensor: Callable[[Any], bool], convert: Callable[[Any], Any], most_bytes: int,
           sequence: Callable[[list], Any] | None = None) -> Any:
    """``content`` with each tensor in its dicts, lists and tuples converted; what several of them share is made once.

    Whoever walks through the result later sees a shared value each time, so each time is counted here.

    Args:
        is_tensor, convert: which values are tensors (they have ``nbytes``), and what becomes of one.
        most_bytes: of all tensors together.
        sequence: what lists and tuples become; None keeps their type.

    Raises:
        TooMuch: more values, depth or bytes than ``limits`` allows, or a list that holds itself.
    """
    most_values, most_depth = limit("VALUES"), limit("DEPTH")
    made: dict[int, Part | None] = {}  # by id; None while at work
    converted = 0  # bytes

    def part(value: Any, depth: int) -> Part:
        known = made.get(id(value), value)
        if isinstance(known, Part):
            return known
        if (known is None and value is not None) or depth > most_depth:
            refuse("DEPTH", f"its lists and dictionaries lie more than {most_depth} deep in each other")
        if is_tensor(value):
            nonlocal converted
            converted += value.nbytes
            _checked(Part(None, 1, converted), most_values, most_depth, most_bytes)
            result = Part(convert(value), 1, value.nbytes)
        elif isinstance(value, (dict, list, tuple)):
            made[id(value)] = None
            result = container(value, depth)
        else:
            return Part(value)
        made[id(value)] = result
        return result

    def container(value: Any, depth: int) -> Part:
        keys = [part(key, depth + 1) for key in value] if isinstance(value, dict) else []
        items = [part(item, depth + 1) for item in (value.values() if isinstance(value, dict) else value)]
        inside = [*keys, *items]
        total = Part(None, 1 + sum(one.values for one in inside), sum(one.bytes for one in inside),
                     1 + max((one.height for one in inside), default=0))
        _checked(total, most_values, most_depth, most_bytes)
        plain = [item.value for item in items]
        return total._replace(value=dict(zip(value, plain)) if isinstance(value, dict) else
                              (sequence or type(value))(plain))

    return part(content, 0).value


def _checked(part, most_values, most_depth, most_bytes):
    if part.values > most_values:
        refuse("VALUES", f"lists and dictionaries that it shares unfold to more than {most_values} values")
    if part.height > most_depth:
        refuse("DEPTH", f"its lists and dictionaries lie more than {most_depth} deep in each other")
    if part.bytes > most_bytes:
        refuse("EXPANSION", f"its tensors would take {part.bytes} bytes or more, over {most_bytes} for a file of its "
                            "size")
    return part


def with_arrays(content: Any, most_bytes: int) -> Any:
    """``content`` with each Array replaced by the numpy array; see ``unfold``."""
    return unfold(content, lambda value: isinstance(value, Array), Array.array, most_bytes)
