# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The ledger: what a patch is, and how patches are put in place, taken out again and listed.

Targets and replacements are dotted names, so a row is data and nothing is loaded before it is applied. Rows stand in
``ppdet.py`` and ``paddle.py``; ``python -m ppdet_ext.patches`` prints them.
"""
from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import inspect
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from packaging.requirements import Requirement

from ..errors import UserError, nearest

logger = logging.getLogger("ppdet_ext")
#: names of rows that stay out, with commas between them
SWITCH = "PPDET_EXT_PATCHES_OFF"
_NOT_THERE = object()


@dataclass(frozen=True)
class Change:
    """One object that is replaced.

    Args:
        target: "module:attribute.path" of the original.
        replacement: "module:function"; it takes the original and returns what takes its place, or the original
            where this release needs no patch: then the whole row stays out.
        also: further places; each is changed where the very same original stands there.
    """

    target: str
    replacement: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Patch:
    """A row of the ledger.

    Args:
        name: how the listing and the switch call it.
        changes: what it replaces.
        reason: the defect, in one sentence.
        versions: the releases it is for, such as "paddle>=2.6,<4" or "ppdet<2.7".
        group: "always" (``ppdet_ext.setup`` applies it) or "kernels" (``kernels.enabled`` does).
        after: names of rows that have to be applied before this one.
    """

    name: str
    changes: tuple[Change, ...]
    reason: str
    versions: str
    group: str = "always"
    after: tuple[str, ...] = ()


@dataclass
class _Applied:
    state: str
    #: [(owner, attribute, what its namespace held, what it holds now)]
    places: list[tuple[Any, str, Any, Any]] = field(default_factory=list)


_applied: dict[str, _Applied] = {}


def rows() -> tuple[Patch, ...]:
    """All rows."""
    from . import paddle, ppdet
    return (*ppdet.ROWS, *paddle.ROWS)


def apply(group: str = "always", off: Collection[str] = ()) -> None:
    """Put the rows of a group in place; those that are there already stay as they are.

    Args:
        off: names of rows that stay out, beside those that the switch names.

    Raises:
        UserError: the switch names a row that there is not.
    """
    off = {*off, *switched_off()}
    for patch in in_order([patch for patch in rows() if patch.group == group]):
        if patch.name not in _applied:
            _applied[patch.name] = _apply(patch, patch.name in off)


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Inside, these rows of the group "always" are out."""
    undo()
    apply(off=names)
    try:
        yield
    finally:
        undo()
        apply()


def undo(group: str = "always") -> None:
    """Put the originals back, last row first. What somebody else has replaced since stays theirs."""
    names = {patch.name for patch in rows() if patch.group == group}
    for name in [name for name in reversed(_applied) if name in names]:
        for owner, attribute, before, after in reversed(_applied.pop(name).places):
            if vars(owner).get(attribute) is not after:
                continue
            if before is _NOT_THERE:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, before)


def listing() -> list[dict[str, str]]:
    """Every row as {name, target, reason, versions, switch, state}."""
    off = switched_off()
    return [{"name": patch.name, "target": ", ".join(change.target for change in patch.changes),
             "reason": patch.reason, "versions": patch.versions, "switch": f"{SWITCH}={patch.name}",
             "state": _state(patch, off)} for patch in rows()]


def _state(patch, off):
    if patch.name in _applied:
        return _applied[patch.name].state
    return "off by switch" if patch.name in off else "not applied"


def switched_off() -> list[str]:
    """Names of the rows that ``PPDET_EXT_PATCHES_OFF`` keeps out.

    Raises:
        UserError: there is no such row.
    """
    names = [name.strip() for name in os.environ.get(SWITCH, "").split(",") if name.strip()]
    known = [patch.name for patch in rows()]
    for name in names:
        if name not in known:
            raise UserError(f"{SWITCH}: there is no patch '{name}'{nearest(name, known)}; python -m ppdet_ext.patches "
                            "lists them")
    return names


def in_order(patches: Sequence[Patch]) -> list[Patch]:
    """The rows, each after those that it names; else as they come.

    Raises:
        StopIteration: rows name each other in a circle.
    """
    waiting, ordered = list(patches), []
    while waiting:
        ready = next(patch for patch in waiting if not {other.name for other in waiting} & set(patch.after))
        waiting.remove(ready)
        ordered.append(ready)
    return ordered


def _apply(patch, off):
    if off:
        return _Applied("off by switch")
    if not _is_for(patch.versions):
        return _Applied("not needed for this version")
    try:
        originals = [_original(change.target) for change in patch.changes]
    except (ImportError, AttributeError) as error:
        logger.warning("patch '%s' is left out: this release lacks its target (%s)", patch.name, error)
        return _Applied("its target is not in this version")
    replacements = [_replacement(change.replacement, original)
                    for change, original in zip(patch.changes, originals)]
    if any(replacement is original for replacement, original in zip(replacements, originals)):
        return _Applied("not needed for this version")
    places = []
    for change, original, replacement in zip(patch.changes, originals, replacements):
        for place in (change.target, *change.also):
            owner, attribute = resolve(place)
            before = vars(owner).get(attribute, _NOT_THERE)
            if place == change.target or before is original:
                setattr(owner, attribute, replacement)
                places.append((owner, attribute, before, replacement))
    return _Applied("applied", places)


def _original(target):
    """As its class or module holds it: a classmethod is not bound. A module also finds Python's own functions."""
    owner, attribute = resolve(target)
    if attribute in vars(owner):
        return vars(owner)[attribute]
    return getattr(builtins if inspect.ismodule(owner) and hasattr(builtins, attribute) else owner, attribute)


@functools.cache
def _replacement(factory, original):
    """Made once for an original, however often a row is applied."""
    owner, attribute = resolve(factory)
    return getattr(owner, attribute)(original)


def resolve(dotted: str) -> tuple[Any, str]:
    """"module:a.b.name" -> (the object a.b, "name").

    Raises:
        ImportError, AttributeError: there is no such module or object.
    """
    module, _, path = dotted.partition(":")
    *parents, attribute = path.split(".")
    return functools.reduce(getattr, parents, importlib.import_module(module)), attribute


def _is_for(versions):
    """Whether the installed release fits "package>=1.2,<2"."""
    requirement = Requirement(versions)
    installed = importlib.import_module(requirement.name).__version__
    return requirement.specifier.contains(installed, prereleases=True)
