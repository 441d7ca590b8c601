# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What is drawn of a run and of an evaluation, with matplotlib: curves, bars, a matrix."""
from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import printable
from ..files import atomic_path
from ..startup.environment import logging_at
from .class_results import ClassResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ("AP", "AP50", "AP75")  # of the evaluations, in curves.png
POINTS = 400  # of a line: more than a screen shows
SHOWN_CLASSES = 10  # curves in a figure
MATRIX = 20  # classes in a confusion matrix
LONGEST = 24  # letters of a name
BACKGROUND = "background"
MARGINS = (0.72, 0.12, 0.12, 0.5)  # inches

def new_figure(width: float = 5.2, height: float = 3.4, margins: tuple[float, ...] | None = MARGINS) -> Figure:
    """An empty figure, small, so that its words can be read on a telephone.

    Args:
        width, height: in inches.
        margins: left, right, top and bottom, in inches; None: what its words need, which takes twice as long to draw.
    """
    from matplotlib.figure import Figure

    if margins is None:
        return Figure(figsize=(width, height), layout="tight")
    figure = Figure(figsize=(width, height))
    left, right, top, bottom = margins
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
    return figure


@contextmanager
def _quiet() -> Iterator[None]:
    """Without remarks on letters that matplotlib's font lacks: a browser takes them from another font."""
    with logging_at(logging.ERROR, "matplotlib.font_manager"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing")
        yield


def as_svg(figure: Figure) -> bytes:
    """SVG with its words as text, the same bytes for the same figure."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    # without a math sign "$": a class name is text
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ppdet_ext", "path.simplify": True}), _quiet():
        content = io.BytesIO()
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        FigureCanvasSVG(figure).print_svg(content, metadata=metadata)  # savefig draws twice
    return content.getvalue()


def write_png(figure: Figure, path: str | Path) -> None:
    """The figure as a PNG file, which appears whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with atomic_path(path) as temporary, _quiet():
        FigureCanvasAgg(figure).print_png(str(temporary))


def name_of(text: object) -> str:
    """A name out of a file as a figure shows it: no formula, and a legend leaves out what begins with a line."""
    return (" " if str(text).startswith("_") else "") + printable(text, LONGEST).replace("$", r"\$")


def lines(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, *, bottom: float | None = None,
          top: float | None = None, log: bool = False, marker: str = "", unit: str = "") -> Figure:
    """Lines over one axis.

    Args:
        series: {its name: (x, y)}; nan where there is no value. More than ``POINTS`` are averaged in groups.
        bottom, top: limits of y.
        log: powers of ten on y.
        unit: what y is.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure()
    axes = figure.subplots()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for name, (x, y) in series.items():
        axes.plot(*_fewer(np.asarray(x, float), np.asarray(y, float)), marker=marker, markersize=4, linewidth=1.3,
                  label=name_of(name))
    axes.set(xlabel=xlabel, ylabel=unit)
    if log and any(np.any(np.asarray(y) > 0) for _, y in series.values()):
        _log_scale(axes)
    else:
        axes.set_ylim(bottom, top)
    _finish(axes, legend=len(series) > 1)
    return figure


def _log_scale(axes: Axes) -> None:
    """Powers of ten on y, as plain numbers: formulas are slow to draw."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    low, high = axes.get_ylim()
    few = high < 30 * low  # without words between the powers there might be none
    axes.yaxis.set_minor_formatter("{x:.2g}" if few else "")


def _fewer(x, y):
    """Means of groups of neighbours."""
    size = -(-len(x) // POINTS)
    if size <= 1:
        return x, y
    edges = np.arange(0, len(x), size)
    good = np.isfinite(y)
    number = np.add.reduceat(good, edges)
    with np.errstate(invalid="ignore"):
        return x[edges], np.add.reduceat(np.where(good, y, 0), edges) / np.where(number, number, np.nan)


def _finish(axes: Axes, legend: bool) -> None:
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", labelsize=8)
    if legend:
        axes.legend(fontsize=7, framealpha=0.6, ncols=1 + (len(axes.get_legend_handles_labels()[1]) > 6))


def draw_curves(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw loss (left) and AP, AP50, AP75 (right) of the history's ``rows`` into the PNG ``path``."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(10, 4, None)
    left, right = figure.subplots(1, 2)
    left.plot([row["epoch"] + 1 for row in rows], [row["loss"] for row in rows], marker=".")
    left.set(title="training loss (mean over the epoch)", xlabel="epoch", ylim=(0, None))
    for name, (epochs, values) in rated(rows).items():
        right.plot(epochs, values, marker=".", label=name)
    right.set(title="AP on the evaluation set", xlabel="epoch", ylim=(0, 1))
    if right.lines:
        right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    write_png(figure, path)


def rated(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """{'AP': (epochs from 1, values), ...} of the history's rows that were evaluated; names without a value are out."""
    found = [row for row in rows if row.get("ap")]
    epochs = [row["epoch"] + 1 for row in found]
    values = {name: [_number(row["ap"].get(name)) for row in found] for name in LINES}
    return {name: (epochs, given) for name, given in values.items() if not np.isnan(given).all()}


def _number(value):
    return float("nan") if value is None else float(value)


def precision_recall(results: Sequence[ClassResult]) -> Figure:
    """Precision over recall at IoU 0.5: the mean of all classes, and up to ten of them: the worst and the best."""
    figure = new_figure(height=3.8)
    axes = figure.subplots()
    curves = sorted((one for one in results if one.ap50 is not None and len(one.precision)),
                    key=lambda one: one.ap50 or 0.0)
    half = SHOWN_CLASSES // 2
    shown = curves if len(curves) <= SHOWN_CLASSES else [*curves[:half], *curves[-half:]]
    for one in reversed(shown):
        axes.plot(one.recall, one.precision, linewidth=1, label=f"{name_of(one.name)}  {one.ap50:.2f}")
    if len(curves) > 1 and len({len(one.recall) for one in curves}) == 1:
        mean = np.mean([one.precision for one in curves], 0)
        axes.plot(curves[0].recall, mean, color="black", linewidth=2.2,
                  label=f"all {len(curves)}  {np.mean([one.ap50 or 0.0 for one in curves]):.2f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    _finish(axes, legend=bool(curves))
    return figure


def confusion_matrix(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Numbers of boxes: rows are true classes, columns detected ones, the last of both is the background.

    Args:
        matrix: [classes + 1, classes + 1].
        names: of the classes. Of more than twenty those that are mixed up most are shown, the rest as one.
    """
    matrix, names = _fewer_classes(matrix, names)
    size = len(matrix)
    side = min(max(3.6, 1.2 + 0.28 * size), 6.5)
    figure = new_figure(side + 0.4, side, None)
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    shown = [name_of(name) for name in names]
    axes.set(xlabel="detected as", ylabel="true class")
    axes.set_xticks(range(size), [*shown, "missed"], rotation=90 if size > 6 else 45, fontsize=7)
    axes.set_yticks(range(size), [*shown, BACKGROUND], fontsize=7)
    for row, column in zip(*np.nonzero(matrix)):
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=6 if size > 8 else 8,
                  color="white" if share[row, column] > 0.6 else "black")
    return figure


def _fewer_classes(matrix, names):
    if len(names) <= MATRIX:
        return matrix, list(names)
    mixed = matrix[:-1, :-1].sum(0) + matrix[:-1, :-1].sum(1) - 2 * matrix.diagonal()[:-1]
    chosen = np.sort(np.argsort(-(mixed + matrix[:-1].sum(1) / (matrix.sum() + 1)), kind="stable")[:MATRIX - 1])
    group = np.full(len(matrix), MATRIX - 1)
    group[chosen], group[-1] = np.arange(len(chosen)), MATRIX
    merged = np.zeros((MATRIX + 1, MATRIX + 1), matrix.dtype)
    np.add.at(merged, (group[:, None], group[None]), matrix)
    return merged, [*(names[i] for i in chosen), f"{len(names) - len(chosen)} others"]


def bars(values: Mapping[str, float], xlabel: str) -> Figure:
    """Lying bars with their values, the first on top."""
    figure = new_figure(height=2.9, margins=(1.15, *MARGINS[1:]))
    axes = figure.subplots()
    drawn = axes.barh(list(values), list(values.values()), color="#4c78a8")
    axes.bar_label(drawn, [f"{value:.3f}" for value in values.values()], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set(xlabel=xlabel)
    _finish(axes, legend=False)
    return figure


def stacks(table: Mapping[str, Mapping[str, float]], ylabel: str, colours: Mapping[str, str]) -> Figure:
    """Standing bars of parts: {bar: {part: value}}; ``colours`` names the parts from the lowest on."""
    figure = new_figure(height=2.9)
    axes = figure.subplots()
    below = np.zeros(len(table))
    for part, colour in colours.items():
        values = np.array([row.get(part, 0) for row in table.values()], float)
        axes.bar(list(table), values, bottom=below, color=colour, label=part, width=0.6)
        below += values
    axes.set(ylabel=ylabel)
    _finish(axes, legend=True)
    return figure


def score_histogram(right: np.ndarray, wrong: np.ndarray, threshold: float) -> Figure:
    """How many detections have which score: right ones and wrong ones, numbers as powers of ten; a line."""
    figure = new_figure(height=2.9)
    axes = figure.subplots()
    axes.hist([right, wrong], bins=np.linspace(0, 1, 26).tolist(), stacked=True, color=["#2e9e4f", "#d02f2f"],
              label=["right", "wrong"])
    axes.axvline(threshold, color="black", linewidth=1, linestyle="--", label=f"{threshold:.2f}")
    if len(right) + len(wrong):
        _log_scale(axes)
    axes.set(xlabel="score", ylabel="detections", xlim=(0, 1))
    _finish(axes, legend=True)
    return figure


def histogram(values: np.ndarray, bins: Sequence[float], xlabel: str, ylabel: str, mark: float | None = None) -> Figure:
    """How many values lie between each two of the ``bins``; a line at ``mark``."""
    figure = new_figure(height=2.9)
    axes = figure.subplots()
    axes.hist(np.clip(values, bins[0], bins[-1]), bins=list(bins), color="#4c78a8")
    if mark is not None:
        axes.axvline(mark, color="black", linewidth=1, linestyle="--", label=f"{mark:g}")
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(bins[0], bins[-1]))
    _finish(axes, legend=mark is not None)
    return figure
