# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What is changed in torch while a network is traced, and changed back: modes, creation, functions kept whole."""
from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable

import torch
from torch import fx

from ..graph.ops import OPS
from .proxies import TrainingProxy, ValueProxy

if TYPE_CHECKING:
    from .tracer import Tracer


def whole_functions() -> Iterator[Callable]:
    """Functions of timm and torchvision that the table has: recorded as one call, not looked into."""
    for name in OPS:
        package, _, function = name.rpartition(".")
        if package.partition(".")[0] in ("timm", "torchvision"):
            with contextlib.suppress(ImportError, AttributeError):
                yield getattr(importlib.import_module(package), function)


@contextlib.contextmanager
def modes_watched(tracer: Tracer, root: torch.nn.Module) -> Iterator[None]:
    """``training`` of every module that is looked into becomes a TrainingProxy."""
    modules = [module for path, module in root.named_modules() if not tracer.is_leaf_module(module, path)]
    before = [module.training for module in modules]
    leaves = [module for path, module in root.named_modules() if tracer.is_leaf_module(module, path)]
    modes = [module.training for module in leaves]
    for module in modules:
        module.__dict__["training"] = TrainingProxy(tracer, module)
    for module in leaves:
        module.__dict__["training"] = tracer.training
    try:
        yield
    finally:
        for module, mode in zip(modules + leaves, before + modes):
            module.__dict__["training"] = mode


@contextlib.contextmanager
def creation_watched(tracer: Tracer) -> Iterator[None]:
    """torch.ones(b, n) and the like look at their sizes before they ask a proxy; inside, proxies are asked first."""
    kept = {name: getattr(torch, name) for name in ("ones", "zeros", "full", "empty", "eye")}

    def watched(function):
        def create(*args, **kwargs):
            found: list[bool] = []
            fx.node.map_aggregate((args, kwargs), lambda item: found.append(isinstance(item, ValueProxy)))
            if any(found) and not tracer.computing:
                return tracer.create_proxy("call_function", function, args, kwargs)
            return function(*args, **kwargs)
        return create
    for name, function in kept.items():
        setattr(torch, name, watched(function))
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(torch, name, function)


@contextlib.contextmanager
def everything_open() -> Iterator[None]:
    """Functions that a package marked with torch.fx.wrap are looked into all the same, but for those in the table."""
    wrapped = fx._symbolic_trace._wrapped_fns_to_patch
    kept = dict(wrapped)
    wrapped.clear()
    wrapped.update({key: names for key, names in kept.items() if f"{names.get('__name__')}.{key[1]}" in OPS})
    try:
        yield
    finally:
        wrapped.clear()
        wrapped.update(kept)
