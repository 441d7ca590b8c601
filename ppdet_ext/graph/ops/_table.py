# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The table from torch to Paddle: functions and methods by name, leaf modules by class name, each with its facts."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Callable

from ...errors import UserError

OPS: dict[str, Op] = {}
LEAVES: dict[str, Leaf] = {}


@dataclass(frozen=True)
class Op:
    """What a torch function or tensor method is in Paddle, and what is to be known of it.

    Args:
        function: takes torch's arguments, with Paddle's tensors.
        view: in torch the result may share memory with an argument, so that a change in place of one reaches the other.
        creates: makes a tensor of numbers, without one among its arguments.
        random: draws numbers, so that no two calls are alike.
        metadata: looks at the shapes and types of tensors alone, never at what is in them.
    """
    function: Callable
    view: bool = False
    creates: bool = False
    random: bool = False
    metadata: bool = False


@dataclass(frozen=True)
class Leaf:
    """How a torch module that the tracer does not look into becomes a Paddle layer.

    Args:
        build: ``build(**args, **children)`` -> nn.Layer.
        args: attributes of the torch module that ``build`` takes; of a parameter, whether it is there.
        children: attributes that are leaves themselves, handed to ``build`` as layers.
        view: as of an Op, in evaluation mode.
    """
    build: Callable
    args: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    view: bool = False

    @cached_property
    def names(self) -> frozenset[str]:
        """``args`` as ``build`` has them."""
        return frozenset(name.replace(".", "_") for name in self.args)


def op(*names: str, **facts: bool) -> Callable:
    """Decorator: ``function`` is what the torch functions ('torch.cat') and tensor methods ('.view') are in Paddle.

    Args:
        facts: ``view=True`` and so on, see Op.
    """
    def add(function: Callable) -> Callable:
        for name in names:
            _add(OPS, name, Op(function, **facts))
        return function

    return add


def leaf(*names: str, args: Sequence[str] = (), children: Sequence[str] = (), view: bool = False) -> Callable:
    """Decorator: ``build`` makes the Paddle layer of the torch modules with these class names; see Leaf."""
    def add(build: Callable) -> Callable:
        for name in names:
            _add(LEAVES, name, Leaf(build, tuple(args), tuple(children), view))
        return build

    return add


def _add(table: dict[str, Any], name: str, entry: Any) -> None:
    if name in table:
        raise UserError(f"{name} is in the table from torch to Paddle already; replace it there (OPS, LEAVES) if you "
                        "mean to")
    table[name] = entry
