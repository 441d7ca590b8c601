# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What is drawn of a run and of an evaluation, with matplotlib: curves, bars, a matrix."""
from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float = 5.2, height: float = 3.4, **settings: Any) -> Figure:
    """An empty figure in inches; small, so that its words can be read on a telephone."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="tight", **settings)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without remarks on letters that matplotlib's font lacks: a browser takes them from another font."""
    finder = logging.getLogger("matplotlib.font_manager")
    level = finder.level
    finder.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Glyph .* missing")
            yield
    finally:
        finder.setLevel(level)


def as_svg(figure: Figure) -> bytes:
    """SVG with its words as text, the same bytes for the same figure."""
    from matplotlib import rc_context

    # without a math sign "$": a class name is text
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ppdet_ext", "path.simplify": True}), _quiet():
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return content.getvalue()


def write_png(figure: Figure, path: str | Path) -> None:
    """The figure as a PNG file, which appears whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with atomic_path(path) as temporary, _quiet():
        FigureCanvasAgg(figure).print_png(str(temporary))
