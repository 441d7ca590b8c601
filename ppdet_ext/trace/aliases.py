# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Which traced values share memory in torch, and what a change in place of one of them means for the others.

A graph has no memory to share: a change in place becomes a new value. A part ``x[1:3]`` that is changed is written back
into ``x``; a value that would have changed through a reshape or a transpose is stale, and reading it is an error.
Parts of the same tensor are taken for disjoint, as those of ``chunk`` and ``unbind`` are.

Which operations may give a view, the table says (``view=True``); whether a call did, torch: its storage is the same.
"""
from __future__ import annotations

import builtins
import operator
from collections.abc import Iterable, Iterator
from typing import Any, Callable

import torch

BASIC = (int, slice, type(None), type(Ellipsis))


class Alias:
    """Part of a traced value: whose memory it looks into.

    Attributes:
        parents: (value, index) of those that this one is a view of; the index is the place in it, where that is known.
        children: views of this one.
        stale: whether it was changed through another value.
    """

    value: Any
    parents: tuple[tuple[Alias, Any], ...] = ()
    children: tuple[Alias, ...] = ()
    stale = False

    def look_into(self, parent: Alias, index: Any) -> None:
        """Note that this is a view of ``parent``."""
        self.parents = (*self.parents, (parent, index))
        parent.children = (*parent.children, self)

    def below(self) -> Iterator[Alias]:
        """Views of this, and views of those."""
        for child in self.children:
            yield child
            yield from child.below()


def parents_of(target: Any, args: tuple, shared: Iterable[Alias]) -> list[tuple[Alias, Any]]:
    """(value, index) of what the result of a call is a view of.

    Args:
        shared: the tensors among the arguments whose memory the result has.
    """
    source = args[0] if args and isinstance(args[0], Alias) else None
    if source is not None and target in (operator.getitem, builtins.getattr):
        if not isinstance(source.value, torch.Tensor):  # one of several tensors
            return [(source, None)]
        if target is operator.getitem:
            return [(source, args[1])] if _is_basic(args[1]) else []
    return [(value, None) for value in shared]


def shared_memory(result: Any, inputs: list[torch.Tensor]) -> list[int]:
    """Places of the inputs that a result, a tensor or several, has the storage of."""
    results = [result] if isinstance(result, torch.Tensor) else result if isinstance(result, (tuple, list)) else ()
    storages = {_storage(one) for one in results if isinstance(one, torch.Tensor)}
    return [place for place, tensor in enumerate(inputs) if storages and _storage(tensor) in storages]


def changed(value: Alias, write_back: Callable[[Alias, Any, Alias], None]) -> list[Alias]:
    """``value`` was changed in place: write it back into what it is a part of, and mark what is not followed.

    Args:
        write_back: function of (parent, index, part).

    Returns:
        the values that are stale now.
    """
    stale = [*value.below(), *_above(value, write_back)]
    for one in stale:
        one.stale = True
    return stale


def _above(value: Alias, write_back: Callable | None) -> Iterator[Alias]:
    """What became stale among the values that ``value`` is a view of, and their other views."""
    for parent, index in value.parents:
        followed = write_back if index is not None else None
        if followed:
            followed(parent, index, value)
        elif isinstance(parent.value, torch.Tensor):  # a tuple's other items are as they were
            yield parent
        whole = _covers(value, parent)
        for other in parent.children:
            if other is not value and (whole or _covers(other, parent)):
                yield other
                yield from other.below()
        yield from _above(parent, followed)


def _covers(view: Alias, parent: Alias) -> bool:
    """Whether all of ``parent`` is in a view of it, as after a reshape."""
    tensors = isinstance(view.value, torch.Tensor) and isinstance(parent.value, torch.Tensor)
    return tensors and view.value.numel() >= parent.value.numel()


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _is_basic(index: Any) -> bool:
    places = index if isinstance(index, tuple) else (index,)
    return all(isinstance(place.value if isinstance(place, Alias) else place, BASIC) for place in places)
