# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The graph of a name: from the store, else traced now and kept there."""
from __future__ import annotations

import importlib.util
import logging

from ..errors import UserError
from ..graph import graph_file
from ..graph.graph import Graph
from ..graph.store import at_hand, file_of, how_to
from ..weights.download import home

logger = logging.getLogger(__name__)


def find(name: str, img_size: int | tuple[int, int] | None = None, keep: bool = True) -> Graph:
    """The Graph of a timm name or 'torchvision/NAME' without a tag; traced, and kept in ``home()``, where need be.

    Args:
        img_size: side or (height, width) to build it for, where the network is made for one size.

    Raises:
        UserError: it is not known here and there is no torch to trace it; or it cannot be traced.
    """
    path = at_hand(name, img_size)
    if path:
        return graph_file.load(path)
    made = traced(name, img_size)
    if keep:
        _keep(made, home() / file_of(name, img_size))
    return made


def can_trace(name: str) -> bool:
    """Whether torch and the package that has the network are installed."""
    package = "torchvision" if name.startswith("torchvision/") else "timm"
    return all(importlib.util.find_spec(module) for module in ("torch", package))


def traced(name: str, img_size: int | tuple[int, int] | None = None) -> Graph:
    """A fresh trace, with what is published of the network's weights."""
    from . import from_torch
    from .published import published
    package, _, arch = name.rpartition("/")
    if package not in ("", "torchvision"):
        raise UserError(f"unknown source '{package}' in '{name}'; write a timm name or torchvision/NAME")
    if not can_trace(name):
        raise UserError(f"'{name}' is no native network and its graph is not at hand: {how_to(name, img_size)}")
    made = from_torch.trace_torchvision(arch, img_size) if package else from_torch.trace_timm(arch, img_size)
    made.info["published"] = published(name)
    return made


def _keep(made, path):
    try:
        graph_file.save(made, path)
        logger.info("%s traced; its graph is kept as %s", made.name, path)
    except (OSError, UserError) as error:
        logger.warning("the graph of %s is not kept: %s", made.name, error)
