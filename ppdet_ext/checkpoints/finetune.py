# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A checkpoint for some classes into a detector for others: what depends on the classes starts anew, row by row."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from paddle import nn

from ..data.class_names import of_coco
from ..errors import UserError, nearest, printable
from ..weights.load_report import fold
from . import name_maps, name_rules
from .facts import differ

CLASS_MAP = "class_map"


@dataclass(frozen=True)
class FittedState:
    """The state to start from, and in words what was kept of the checkpoint's and what was reset."""
    state: dict[str, np.ndarray]
    lines: tuple[str, ...]


def fit_classes(state: dict[str, np.ndarray], net: nn.Layer, class_map: dict[Any, Any] | None = None,
                own_names: Sequence[str] | None = None, their_names: Sequence[str] | None = None) -> FittedState:
    """Make a checkpoint fit a detector of other classes.

    Without ``class_map`` a checkpoint for as many classes is taken as it is. Otherwise the tensors that depend on the
    classes (``name_rules.CLASS_AXES``) are initialised as before training, and the rows of mapped classes are copied.

    Args:
        state: ``{Paddle name: array}`` of a whole detector.
        net: the detector; its class-dependent parameters are made anew where they are needed.
        class_map: ``{class here: class of the checkpoint}``, names or numbers from 0.
        own_names, their_names: the classes' names in order, or None where they are not known.

    Returns:
        FittedState

    Raises:
        UserError: a class of class_map that is in neither, or a name where names are not known.
    """
    wanted, given = len(net.state_dict()[name_maps.SCORE_BIAS]), len(state[name_maps.SCORE_BIAS])
    if class_map is None and wanted == given:
        found = differ(their_names or (), own_names or ())
        return FittedState(state, (f"classes: all {given} of the checkpoint are kept, in its order",
                                   *([f"CLASS MISMATCH: {found.text}: rows are kept by number; to pair them by name, "
                                      f"write {CLASS_MAP}"] if found else [])))
    pairs = pair_classes(class_map or {}, (wanted, own_names), (given, their_names))
    net.transformer.reset_classes()
    made = {name: _rows(value.numpy(), state[name], name_rules.class_axis(name), pairs)
            for name, value in net.state_dict().items() if name_rules.class_axis(name) is not None and name in state}
    return FittedState({**state, **made}, tuple(_lines(state, made, pairs, (wanted, own_names), (given, their_names))))


def pair_classes(class_map: dict[Any, Any], ours: tuple[int, Sequence[str] | None],
                 theirs: tuple[int, Sequence[str] | None]) -> list[tuple[int, int]]:
    """``[(number here, number in the checkpoint)]``; ``ours`` and ``theirs`` are (count, names or None).

    Raises:
        UserError: see ``fit_classes``.
    """
    if not isinstance(class_map, dict):
        raise UserError(f"{CLASS_MAP} is {class_map!r}; write one line a class, 'class here: class of the checkpoint'")
    if theirs[1] is None and theirs[0] == len(of_coco()):
        theirs = (theirs[0], of_coco())
    return [(_number(own, *ours, "this data set"), _number(other, *theirs, "the checkpoint"))
            for own, other in class_map.items()]


def _number(key, count, known, whose):
    """The number of a class that is given by name or number."""
    if known and key in known:
        return known.index(key)
    if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < count:
        return key
    if not known:
        raise UserError(f"{CLASS_MAP}: '{key}': the class names of {whose} are not known; give a number from 0 to "
                        f"{count - 1}")
    raise UserError(f"{CLASS_MAP}: {whose} has no class '{key}'{nearest(key, known)} (its {count}: "
                    f"{', '.join(map(str, known[:5]))}{', ...' if count > 5 else ''})")


def _rows(fresh, old, axis, pairs):
    """``fresh`` with the mapped classes' rows of ``old``, along ``axis``."""
    made = fresh.copy()
    for own, other in pairs:
        target, source = ([slice(None)] * axis + [number] for number in (own, other))
        made[tuple(target)] = old[tuple(source)]
    return made


def _lines(state, made, pairs, ours, theirs):
    """What was kept and what was reset, one line each."""
    def title(number, known):
        return f"{printable(known[number])} ({number})" if known else str(number)
    yield f"kept: {len(state) - len(made)} of {len(state)} tensors, all that do not depend on the classes"
    yield (f"reset: {len(made)} tensors ({theirs[0]} classes -> {ours[0]}; scores start at one per cent): "
           f"{', '.join(fold(made))}")
    copied = ", ".join(f"{title(own, ours[1])} from {title(other, theirs[1])}" for own, other in pairs)
    yield f"rows copied ({CLASS_MAP}): {len(pairs)} of {ours[0]} classes" + (f": {copied}" if copied else "")
