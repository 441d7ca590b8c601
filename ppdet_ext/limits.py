# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The most that a file from outside may cost: one table, each row set otherwise by its environment variable."""
from __future__ import annotations

import os
from typing import NamedTuple, NoReturn

from .errors import UserError

SMALLEST = 8 << 20  # bytes; a smaller file may hold as much as one of this size


class Limit(NamedTuple):
    """A default, and what is counted."""
    default: int
    what: str


#: name -> Limit; the variable is PPDET_EXT_MAX_ and the name
LIMITS = {
    "VALUES": Limit(1_000_000, "values (numbers, texts, lists, ...) in a weight file, tensors' elements not counted"),
    "DEPTH": Limit(100, "lists or dictionaries inside each other in a weight file"),
    "EXPANSION": Limit(8, "bytes of tensors for each byte of the weight file"),
    "GRAPH_BYTES": Limit(16 << 20, "bytes of a graph's JSON, unpacked"),
    "GRAPH_VALUES": Limit(2_000_000, "lists, objects and items in it"),
    "GRAPH_NODES": Limit(50_000, "steps of the network"),
    "GRAPH_DEPTH": Limit(12, "lists inside lists in it"),
    "GRAPH_PARAMETERS": Limit(10**10, "numbers in all parameters and buffers together, and of one axis"),
    "GRAPH_CONSTANTS": Limit(64 << 20, "bytes of all constants together"),
    "FILES": Limit(2_000_000, "files in a data set's folder, pictures of a batch job"),
    "ANNOTATION_BYTES": Limit(4 << 30, "bytes of an annotation file of a whole data set (COCO's JSON, a CSV)"),
    "LABEL_BYTES": Limit(16 << 20, "bytes of one picture's annotations (VOC's XML, YOLO's text), of a list of names"),
    "SIDE": Limit(8192, "pixels of a side that a config may ask for"),
    "DOWNLOAD_GB": Limit(8, "GB (10^9 bytes) of one download"),
    "DOWNLOAD_MINUTES": Limit(240, "minutes of one download"),
    "REQUEST_BYTES": Limit(64 << 20, "bytes of one request to `serve`, all its pictures together"),
    "REQUEST_PICTURES": Limit(16, "pictures of one request to `serve`"),
}


class TooMuch(UserError):
    """A file would cost more than a limit allows."""


def variable(name: str) -> str:
    """The environment variable of a row of ``LIMITS``."""
    return f"PPDET_EXT_MAX_{name}"


def limit(name: str) -> int:
    """The number of a row of ``LIMITS``: its variable's, else the default.

    Raises:
        UserError: the variable is no number above 0.
    """
    text = os.environ.get(variable(name), "").strip()
    if not text:
        return LIMITS[name].default
    if not text.isascii() or not text.isdigit() or not 0 < len(text) < 20 or not int(text):
        raise UserError(f"{variable(name)} is {text!r}; set it to a whole number above 0 ({LIMITS[name].what}), or "
                        "unset it")
    return int(text)


def tensor_bytes(file_bytes: int) -> int:
    """The most bytes that the tensors of a file of ``file_bytes`` may take, all its names together."""
    return limit("EXPANSION") * max(file_bytes, SMALLEST)


def refuse(name: str, why: str) -> NoReturn:
    """Raise TooMuch: ``why`` it is, and the variable that allows more."""
    raise TooMuch(f"{why}; it is refused, as small files can be made to cost endless time or memory (where you trust "
                  f"it, set {variable(name)} above {limit(name)})")
