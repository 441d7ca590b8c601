# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where graphs come from: those in the package, those traced before, else a trace that is kept beside the weights."""
from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from ..errors import UserError
from . import graph
from .download import home
from .load import file_name

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parents[1] / "graphs"
SUFFIX = ".graph.gz"


def find(name, img_size=None, keep=True):
    """The Graph of a timm name or 'torchvision/NAME' without a tag; traced, and kept in ``home()``, where need be.

    Args:
        img_size: side or (height, width) to build it for, where the network is made for one size.

    Raises:
        UserError: it is not known here and there is no torch to trace it; or it cannot be traced.
    """
    path = at_hand(name, img_size)
    if path:
        return graph.load(path)
    made = traced(name, img_size)
    if keep:
        _keep(made, home() / file_of(name, img_size))
    return made


def at_hand(name, img_size=None):
    """Path of the graph, in the package or beside the weights; None where it would have to be traced."""
    file = file_of(name, img_size)
    return next((path for path in (SHIPPED / file, home() / file) if path.is_file()), None)


def file_of(name, img_size=None):
    """A graph's file name: 'torchvision--vit_b_16.graph.gz', 'levit_128--384x384.graph.gz'."""
    size = "" if not img_size else "--" + "x".join(map(str, (img_size, img_size) if isinstance(img_size, int)
                                                       else img_size))
    return f"{file_name(name)}{size}{SUFFIX}"


def shipped():
    """Sorted names of the graphs inside the package."""
    return sorted(path.name[:-len(SUFFIX)].replace("--", "/") for path in SHIPPED.glob(f"*{SUFFIX}"))


def can_trace(name):
    """Whether torch and the package that has the network are installed."""
    package = "torchvision" if name.startswith("torchvision/") else "timm"
    return all(importlib.util.find_spec(module) for module in ("torch", package))


def traced(name, img_size=None):
    """A fresh trace, with what is published of the network's weights."""
    from . import trace
    from .published import published
    package, _, arch = name.rpartition("/")
    if package not in ("", "torchvision"):
        raise UserError(f"unknown source '{package}' in '{name}'; write a timm name or torchvision/NAME")
    if not can_trace(name):
        raise UserError(f"'{name}' is no native network and its graph is not at hand: {how_to(name, img_size)}")
    made = trace.trace_torchvision(arch, img_size) if package else trace.trace_timm(arch, img_size)
    made.info["published"] = published(name)
    return made


def how_to(name, img_size=None):
    """What to do for a graph that is not at hand."""
    return ("with torch, torchvision and timm installed once (pip install 'ppdet-ext[torch]') it is traced and kept as "
            f"{home() / file_of(name, img_size)}, which may also be copied from another machine")


def _keep(made, path):
    try:
        made.save(path)
        logger.info("%s traced; its graph is kept as %s", made.name, path)
    except (OSError, UserError) as error:
        logger.warning("the graph of %s is not kept: %s", made.name, error)
