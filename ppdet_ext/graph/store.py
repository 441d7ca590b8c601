# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where graphs lie: those in the package, and those traced before, beside the weights."""
from __future__ import annotations

from pathlib import Path

from ..weights.download import home
from ..weights.pretrained_weights import file_name

SHIPPED = Path(__file__).with_name("shipped")
SUFFIX = ".graph.gz"


def at_hand(name: str, img_size: int | tuple[int, int] | None = None) -> Path | None:
    """Path of the graph, in the package or beside the weights; None where it would have to be traced."""
    file = file_of(name, img_size)
    return next((path for path in (SHIPPED / file, home() / file) if path.is_file()), None)


def file_of(name: str, img_size: int | tuple[int, int] | None = None) -> str:
    """A graph's file name: 'torchvision--vit_b_16.graph.gz', 'levit_128--384x384.graph.gz'."""
    size = "" if not img_size else "--" + "x".join(map(str, (img_size, img_size) if isinstance(img_size, int)
                                                       else img_size))
    return f"{file_name(name)}{size}{SUFFIX}"


def shipped() -> list[str]:
    """Sorted names of the graphs inside the package."""
    return sorted(path.name[:-len(SUFFIX)].replace("--", "/") for path in SHIPPED.glob(f"*{SUFFIX}"))


def how_to(name: str, img_size: int | tuple[int, int] | None = None) -> str:
    """What to do for a graph that is not at hand."""
    return ("with torch, torchvision and timm installed once (pip install 'ppdet-ext[torch]') it is traced and kept as "
            f"{home() / file_of(name, img_size)}, which may also be copied from another machine")
