# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The random generators of Python, NumPy and Paddle as plain data, so that a checkpoint can hold and restore them.

A reader draws from Python's and NumPy's: with ``worker_num: 0`` itself, else one number from which its workers begin.
It reads ahead, so its state is noted where nothing is under way: before it begins an epoch.
"""
from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle

# a state of C++'s mt19937_64 as text: 312 numbers and a position
ENGINE = re.compile(r"(?:\d{1,20} ){312}\d{1,3}")


def of_reader() -> dict[str, Any]:
    """The states of Python's and NumPy's generators."""
    version, numbers, spare = random.getstate()
    kind, keys, place, has_spare, spare_numpy = np.random.get_state()  # type: ignore[misc]  # legacy: a tuple
    return {"python": [version, list(numbers), spare],
            "numpy": [kind, np.array(keys), int(place), int(has_spare), float(spare_numpy)]}


def restore_reader(state: dict[str, Any]) -> None:
    """Set them as they were.

    Raises:
        ValueError, TypeError, KeyError: it is no such state.
    """
    version, numbers, spare = state["python"]
    random.setstate((version, tuple(numbers), spare))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.asarray(keys, "uint32"), *rest))


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """After it, Python's and NumPy's generators are as before."""
    state = of_reader()
    try:
        yield
    finally:
        restore_reader(state)


def of_paddle() -> dict[str, list[tuple[int, int, int, str]]]:
    """{device: the states of its generators}, for the CPU and the current device."""
    return {device: [_plain(state) for state in paddle.get_rng_state(device)] for device in devices()}


def restore_paddle(state: dict[str, list]) -> bool:
    """Set them as they were.

    Returns:
        Whether that could be done for all: not for devices that were not there then, in the same number.

    Raises:
        ValueError, TypeError, KeyError: it is no such state.
    """
    same = True
    for device in devices():
        found = state.get(device, [])
        # Paddle 2.6 does not tell the state of a CPU's generator
        if len(found) == len(paddle.get_rng_state(device)) and not (device == "cpu" and not found[0][3]):
            paddle.set_rng_state([_state(paddle.get_rng_state("cpu")[0], *values) for values in found], device)
        else:
            same = False
    return same


def devices() -> list[str]:
    """Those whose random numbers a run draws: the CPU's and the current device's."""
    return list(dict.fromkeys(["cpu", paddle.get_device().split(":")[0]]))


def _plain(state):
    place, seed, offset, *engine = state.__getstate__()
    return place, seed, offset, "".join(map(chr, engine[0])) if engine else ""


def _state(kind, place, seed, offset, engine):
    """An object of the class of ``kind``, as pickle makes it. The text is checked, since C++ would not complain."""
    if engine and not ENGINE.fullmatch(engine):
        raise ValueError("no state of Paddle's generator")
    made = type(kind).__new__(type(kind))
    numbers = [int(place), int(seed), int(offset)]
    made.__setstate__((*numbers, [ord(sign) for sign in engine]) if engine else tuple(numbers))
    return made
