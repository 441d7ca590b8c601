# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The table from torch to Paddle: functions and methods by name, leaf modules by class name."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

OPS: dict[str, Callable] = {}
LEAVES: dict[str, Leaf] = {}


@dataclass(frozen=True)
class Leaf:
    """How a torch module that the tracer does not look into becomes a Paddle layer.

    Args:
        build: ``build(**args, **children)`` -> nn.Layer.
        args: attributes of the torch module that ``build`` takes; of a parameter, whether it is there.
        children: attributes that are leaves themselves, handed to ``build`` as layers.
    """
    build: Callable
    args: tuple = ()
    children: tuple = ()


def op(*names):
    """Decorator: ``function`` is what the torch functions ('torch.cat') and tensor methods ('.view') are in Paddle."""
    def add(function):
        for name in names:
            assert name not in OPS, f"{name} is in the table"
            OPS[name] = function
        return function

    return add


def leaf(*names, args=(), children=()):
    """Decorator: ``build`` makes the Paddle layer of the torch modules with these class names."""
    def add(build):
        for name in names:
            assert name not in LEAVES, f"{name} is in the table"
            LEAVES[name] = Leaf(build, tuple(args), tuple(children))
        return build

    return add
