# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The graph of an arch: in the package, beside the weights, else traced now and kept there."""
from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from ..errors import UserError
from ..graph import graph_file
from ..graph.graph import Graph
from ..weights.download import home
from ..weights.pretrained_weights import file_name

SHIPPED = Path(graph_file.__file__).with_name("shipped")
SUFFIX = ".graph.gz"

logger = logging.getLogger(__name__)


def find(arch: str, img_size: int | tuple[int, int] | None = None, keep: bool = True) -> Graph:
    """The Graph of an arch; traced, and kept in ``home()``, where need be.

    Args:
        arch: a timm name or 'torchvision/NAME', without a tag.
        img_size: side or (height, width) to build it for, where the network is made for one size.

    Raises:
        UserError: it is not known here and there is no torch to trace it; or it cannot be traced.
    """
    path = at_hand(arch, img_size)
    if path:
        return graph_file.load(path)
    made = traced(arch, img_size)
    if keep:
        _keep(made, home() / file_of(arch, img_size))
    return made


def can_trace(arch: str) -> bool:
    """Whether torch and the package that has the network are installed."""
    package = "torchvision" if arch.startswith("torchvision/") else "timm"
    return all(importlib.util.find_spec(module) for module in ("torch", package))


def traced(arch: str, img_size: int | tuple[int, int] | None = None) -> Graph:
    """A fresh trace, with what is published of the network's weights."""
    from . import from_torch
    from .published import published
    package, _, name = arch.rpartition("/")
    if package not in ("", "torchvision"):
        raise UserError(f"unknown source '{package}' in '{arch}'; write a timm name or torchvision/NAME")
    if not can_trace(arch):
        raise UserError(f"'{arch}' is no native network and its graph is not at hand: {how_to(arch, img_size)}")
    made = from_torch.trace_torchvision(name, img_size) if package else from_torch.trace_timm(name, img_size)
    made.info["published"] = published(arch)
    return made


def at_hand(arch: str, img_size: int | tuple[int, int] | None = None) -> Path | None:
    """Path of the graph, in the package or beside the weights; None where it would have to be traced."""
    file = file_of(arch, img_size)
    return next((path for path in (SHIPPED / file, home() / file) if path.is_file()), None)


def file_of(arch: str, img_size: int | tuple[int, int] | None = None) -> str:
    """A graph's file name: 'torchvision--vit_b_16.graph.gz', 'levit_128--384x384.graph.gz'."""
    size = "" if not img_size else "--" + "x".join(map(str, (img_size, img_size) if isinstance(img_size, int)
                                                       else img_size))
    return f"{file_name(arch)}{size}{SUFFIX}"


def shipped() -> list[str]:
    """Sorted names of the graphs inside the package."""
    return sorted(path.name[:-len(SUFFIX)].replace("--", "/") for path in SHIPPED.glob(f"*{SUFFIX}"))


def how_to(arch: str, img_size: int | tuple[int, int] | None = None) -> str:
    """What to do for a graph that is not at hand."""
    return ("with torch, torchvision and timm installed once (pip install 'ppdet-ext[torch]') it is traced and kept as "
            f"{home() / file_of(arch, img_size)}, which may also be copied from another machine")


def _keep(made, path):
    try:
        graph_file.save(made, path)
        logger.info("%s traced; its graph is kept as %s", made.name, path)
    except (OSError, UserError) as error:
        logger.warning("the graph of %s is not kept: %s", made.name, error)
