# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A Graph as a file: JSON inside gzip. A file may come from anywhere, so ``schema`` checks every field of it."""
from __future__ import annotations

import base64
import contextlib
import gc
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..files import atomic_path
from .graph import Graph, Ref
from .schema import FORMAT, Limits, Refused, read_graph


def save(graph: Graph, path: Path) -> None:
    """Write as gzip-compressed JSON.

    Raises:
        UserError: the folder cannot be written.
    """
    with atomic_path(path) as temporary, gzip.GzipFile(temporary, "wb", 9, mtime=0) as file:
        file.write(json.dumps(_encoded(vars(graph)), separators=(",", ":")).encode())


def load(path: Path, limits: Limits | None = None) -> Graph:
    """The Graph in ``path``.

    Raises:
        UserError: not such a file, one of another format, or one with a field that is not as it must be; nothing of it
            has been computed or called then.
    """
    limits = limits or Limits()
    advice = "remove it to trace the network anew"
    try:
        with _no_collection():
            content = _json(_text(path, limits), limits)
            if not isinstance(content, dict) or type(content.get("format")) is not int:
                raise Refused("it does not say its format")
            if content["format"] != FORMAT:
                raise UserError(f"'{path}' is a graph of format {content['format']}, this version reads {FORMAT}; "
                                f"{advice}")
            return read_graph(content, limits)
    except Refused as error:
        raise UserError(f"'{path}' holds no traced network: {error}; {advice}") from None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"'{path}' holds no traced network ({type(error).__name__}: {reason}); {advice}") from None


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector, which would walk through all of Paddle for every 700 new lists, in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _text(path: Path, limits: Limits) -> bytes:
    """The JSON text. It is not unpacked further than to its limit."""
    with gzip.open(path, "rb") as file:
        text = file.read(limits.text + 1)
    if len(text) > limits.text:
        raise Refused(f"it unpacks to more than {limits.text >> 20} MiB")
    values = text.count(b",") + text.count(b"[") + text.count(b"{")
    if values > limits.values:  # each becomes an object of some 60 bytes
        raise Refused(f"it has more than {limits.values} values")
    return text


def _json(text: bytes, limits: Limits) -> Any:
    try:
        return json.loads(text, parse_int=None if hasattr(sys, "get_int_max_str_digits") else _integer)
    except RecursionError:
        raise Refused(f"lists lie in lists more than {limits.depth} deep") from None


def _integer(digits: str) -> int:
    """For Python before 3.9.14, which reads a number of any length, in quadratic time."""
    if len(digits) > 20:
        raise Refused(f"a number has {len(digits)} digits")
    return int(digits)


def _encoded(fields: dict[str, Any]) -> dict[str, Any]:
    nodes = [[node.name, node.kind, node.target, _plain(node.args), _plain(node.kwargs)] for node in fields["nodes"]]
    consts = {key: _packed(value) for key, value in fields["consts"].items()}
    return {"format": FORMAT, **fields, "nodes": nodes, "outputs": _plain(fields["outputs"]), "consts": consts}


def _plain(value: Any) -> Any:
    """JSON for what arguments are made of; one-key objects {'$': ...} stand for what JSON does not have."""
    if isinstance(value, Ref):
        return {"$": str(value)}
    if isinstance(value, tuple):
        return {"$tuple": [_plain(item) for item in value]}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, slice):
        return {"$slice": [_plain(item) for item in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"$ellipsis": 0}
    if isinstance(value, float) and not np.isfinite(value):
        return {"$float": repr(value)}
    return value


def _packed(array: np.ndarray) -> list:
    data = base64.b85encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
    return [str(array.dtype), list(array.shape), data]
