# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Which traced values share memory in torch, and what a change in place of one of them means for the others.

A graph has no memory to share: a change in place becomes a new value. A part ``x[1:3]`` that is changed is written back
into ``x``; a value that would have changed through a reshape or a transpose is stale, and reading it is an error.
Views of the same tensor are taken for disjoint, as those of ``chunk`` and ``unbind`` are.
"""
import builtins
import operator

import torch

VIEWS = frozenset(
    ["view", "view_as", "reshape", "flatten", "unflatten", "transpose", "swapaxes", "swapdims", "permute", "movedim", "t", "squeeze", "unsqueeze", "narrow", "select", "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "expand", "expand_as", "broadcast_to", "diagonal", "detach", "contiguous"])
READ_SIZES_ONLY = ("size", "dim", "ndimension", "numel", "nelement")
BASIC = (int, slice, type(None), type(Ellipsis))


class Alias:
    """Part of a traced value: whose memory it looks into.

    Attributes:
        parent: the value that this one is a view of.
        index: the place in the parent, where that is known.
        children: views of this one.
        stale: whether it was changed through another value.
    """

    parent, index, stale, children = None, None, False, ()

    def look_into(self, parent, index):
        self.parent, self.index = parent, index
        parent.children = [*parent.children, self]

    def below(self):
        for child in self.children:
            yield child
            yield from child.below()


def parent_of(kind, target, args, module=None):
    """(value, index) that the result of a call is a view of; (None, None) where it has memory of its own."""
    name = target if kind == "call_method" else getattr(target, "__name__", "")
    source = args[0] if args and isinstance(args[0], Alias) else None
    if source is None or kind not in ("call_method", "call_function", "call_module"):
        return None, None
    if kind == "call_module":
        return (source, None) if isinstance(module, torch.nn.Identity) else (None, None)
    if target is operator.getitem:
        if not isinstance(source.value, torch.Tensor):
            return source, None
        return (source, args[1]) if _is_basic(args[1]) else (None, None)
    return (source, None) if name in VIEWS else (None, None)


def reads_memory(kind, target):
    """Whether a call looks at more than the size and type of its arguments."""
    return not (target is builtins.getattr or (kind == "call_method" and target in READ_SIZES_ONLY))


def changed(value, write_back):
    """``value`` was changed in place: write it back into what it is a part of, and mark what is not followed.

    Args:
        write_back: function of (parent, index, part).

    Returns:
        the values that are stale now.
    """
    stale = list(value.below())
    while value.parent is not None and value.index is not None:
        write_back(value.parent, value.index, value)
        value = value.parent
    while value.parent is not None:
        value = value.parent
        if isinstance(value.value, torch.Tensor):  # a tuple's other items are as they were
            stale.append(value)
    for one in stale:
        one.stale = True
    return stale


def _is_basic(index):
    places = index if isinstance(index, tuple) else (index,)
    return all(isinstance(place.value if isinstance(place, Alias) else place, BASIC) for place in places)
