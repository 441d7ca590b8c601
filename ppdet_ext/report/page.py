# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A page of a run, an evaluation or a comparison: one HTML file that asks for nothing outside of it.

It has no script and no address. A Content-Security-Policy in it forbids both, should a name out of a file get past
Jinja's escapes. All words stand in English and Chinese; the reader may hide one of them.
"""
from __future__ import annotations

import base64
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import masked

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

Words = tuple[str, str]  # English, Chinese
NOTHING: Words = ("", "")
COMPARISON: Words = ("Comparison", "比较")
# first bytes of a picture -> its type
TYPES = ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"<", "image/svg+xml"))


@dataclass(frozen=True)
class Picture:
    """A picture in a page.

    Attributes:
        content: bytes of a PNG, a JPEG or an SVG.
        title: above it.
        note: below it; what the reader should know.
    """

    content: bytes
    title: Words
    note: Words = NOTHING

    @classmethod
    def of(cls, figure: Figure, title: Words, note: Words = NOTHING) -> Picture:
        """One of matplotlib's figures."""
        from .figures import as_svg

        return cls(as_svg(figure), title, note)

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        kind = next(kind for start, kind in TYPES if self.content.startswith(start))
        return f"data:{kind};base64,{base64.b64encode(self.content).decode()}"


def comparison_page(rows: Sequence[Mapping[str, Any]], *, title: Words = COMPARISON,
                    columns: Mapping[str, Words] | None = None, figures: Iterable[Picture] = (),
                    notes: Iterable[Words] = (), marked: str = "") -> str:
    """The HTML of a comparison: notes, a table, figures.

    Args:
        rows: a dict each: numbers, texts, booleans, (English, Chinese) pairs; None or no key where there is no value.
        columns: {key: its title}, in the order of the table; default: the keys as they come.
        figures: e.g. ``[Picture.of(figure, ("latency and AP", "延迟与 AP"))]``.
        notes: what was measured, how, on what.
        marked: the key whose true values mark a row (the Pareto front).
    """
    if columns is None:
        columns = {key: (key, "") for row in rows for key in row}
    return render("comparison.html.j2", title=title, rows=list(rows), columns=columns, figures=list(figures),
                  notes=list(notes), marked=marked)


def render(template: str, **values: Any) -> str:
    """A template of this room as HTML; what is put in is text, never markup."""
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(loader=PackageLoader("ppdet_ext.report"), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)
    made.filters.update(shown=shown)
    made.tests.update(numeric=_is_numeric, words=_is_words)
    return made


def shown(value: Any, digits: int = 4) -> str:
    """A value as a cell of a table: a number with so many digits, a dash for none; addresses without passwords."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "✓" if value else "–"
    if isinstance(value, float):
        return _of_float(value, digits)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(one, digits) for one in value)
    return masked(value)


def _of_float(value, digits):
    """Shares and APs with as many places as each other; nothing as 1e+04."""
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.3f}" if 0.001 <= abs(value) <= 1 or value == 0 else f"{value:.{digits}g}"


def _is_numeric(value):
    """Whether a cell stands on the right: a number, or the dash for none."""
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _is_words(value):
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(one, str) for one in value)
