# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The page of several runs: a table that a click sorts, with the curve of each as a small picture, out of plain data.

Its one script is its own, and is allowed by its digest; without scripts it is a plain table, and it asks for nothing.
"""
from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import atomic_path
from .page import Words, render

NAME = "runs.html"
TITLE: Words = ("Runs", "训练记录")
WIDTH, HEIGHT = 90, 32  # of a curve
SCRIPT = Path(__file__).parent / "templates" / "sort_table.js"


def sparkline(points: Sequence[tuple[float, float]]) -> str:
    """The points of an SVG polyline in WIDTH x HEIGHT, the lowest value at the bottom; '' for fewer than two."""
    if len(points) < 2:
        return ""
    (left, right), (low, high) = ((min(values), max(values)) for values in zip(*points))
    return " ".join(f"{2 + (WIDTH - 4) * (x - left) / ((right - left) or 1):.1f},"
                    f"{HEIGHT - 2 - (HEIGHT - 4) * (y - low) / ((high - low) or 1):.1f}" for x, y in points)


def as_html(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Words], notes: Sequence[Words] = ()) -> str:
    """The page as HTML.

    Args:
        rows: one for each run: a value by each column's name; 'link', the address of its page or ''; 'points', its
            curve as ``sparkline`` writes it, and 'curve_of', what that shows; 'settings', (name, value) pairs.
        columns: {name: words}, in their order; 'name', 'curve' and 'settings' are drawn in their own way.
        notes: above the table.
    """
    script = SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render("runs.html.j2", title=TITLE, rows=rows, columns=columns, notes=notes, script=script, digest=digest,
                  width=WIDTH, height=HEIGHT)


def write(path: str | Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Words],
          notes: Sequence[Words] = ()) -> None:
    """Write the page; it appears whole."""
    with atomic_path(path) as temporary:
        temporary.write_text(as_html(rows, columns, notes), encoding="utf-8")
