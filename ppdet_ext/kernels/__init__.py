# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Eager operations on a CPU that Paddle computes slowly: oneDNN, products, copies. On inside ``enabled()`` only."""
from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Iterator

from ..patches import ledger

logger = logging.getLogger("ppdet_ext")
#: variables that turn all kernels off with the value 0; the second is an older name
SWITCHES = ("PPDET_EXT_KERNELS", "PPDET_EXT_ONEDNN")
_lock = threading.Lock()
_depth = 0


def active() -> bool:
    """Whether this process is inside ``enabled()``, and no switch has turned the kernels off."""
    return _depth > 0


@contextlib.contextmanager
def enabled() -> Iterator[None]:
    """Inside, eager operations on a CPU run in these kernels: float32, same values and gradients to its rounding.

    May be nested. It holds for all threads of the process from the first entry to the last exit. Elsewhere Paddle's
    functions are the very same objects as before. ``PPDET_EXT_KERNELS=0`` makes this do nothing.
    """
    with _deeper(0 if _switched_off() else 1):
        yield


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Inside, also within ``enabled()``, Paddle's own operations compute: for comparisons with them."""
    with _deeper(-_depth):
        yield


@contextlib.contextmanager
def _deeper(by):
    _move(by)
    try:
        yield
    finally:
        _move(-by)


def _move(by):
    global _depth
    with _lock:
        before, _depth = _depth, _depth + by
        if _depth and not before:
            ledger.apply("kernels")
        elif before and not _depth:
            ledger.undo("kernels")


def _switched_off():
    new, old = SWITCHES
    if os.environ.get(old) == "0":
        _say_new_name(old, new)
    return "0" in (os.environ.get(new), os.environ.get(old))


@functools.cache
def _say_new_name(old, new):
    logger.info("%s=0 is now called %s=0; both turn all kernels off", old, new)
