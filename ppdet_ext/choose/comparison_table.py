# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A comparison's rows as a table: in the terminal, in markdown, as CSV and JSON, as a picture."""
from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..files import atomic_set
from .pareto import Axes, axes_of, front, point

NAME = "compare"  # of the files
SUFFIXES = (".md", ".csv", ".json", ".png")
LATENCIES = [(form, kind) for form in ("eager", "exported") for kind in ("fp32", "bf16")]
WIDTH = 180  # characters of a line where the output is no terminal
MARK = "*"  # beside the names on the front
Row = dict[str, Any]


class Column(NamedTuple):
    """A column: its title, and a row's cell, of one line or of two (backbone, detector)."""

    title: str
    cell: Callable[[Row], Sequence[str]]


def _number(value: float | None, form: str = ",.1f") -> str:
    return "" if value is None else format(value, form)


def _both(key: str, form: str) -> Callable[[Row], Sequence[str]]:
    """The backbone's number above the detector's."""
    return lambda row: [_number(row.get(key), form), _number(row.get(f"detector_{key}"), form)]


def _one(key: str, form: str = "") -> Callable[[Row], Sequence[str]]:
    return lambda row: [_number(row.get(key), form)]


def _latency(form: str, kind: str) -> Callable[[Row], Sequence[str]]:
    def cell(row):
        found = [row.get("latency", {}).get(f"{part}_{form}_{kind}") for part in ("backbone", "detector")]
        return ["" if one is None else f"{one['median']:.0f} ({one['low']:.0f}-{one['high']:.0f})" for one in found]
    return cell


def _training(row: Row) -> Sequence[str]:
    return [f"batch {batch}: {peak:,.0f}" for batch, peak in row.get("training_peak", {}).items()]


def _largest(row: Row) -> Sequence[str]:
    """Marked as what it is: ~ extrapolated, and beside it what was then measured."""
    if row.get("largest_batch") is None:
        return [""]
    lines = [f"~{row['largest_batch']}", f"~{row['largest_batch_peak']:,.0f} MB"]
    return lines + ([f"measured {row['confirmed_peak']:,.0f} MB"] if row.get("confirmed_peak") else [])


def _trained(row: Row) -> Sequence[str]:
    """AP, and what the training started from: random weights explain a low one."""
    return ["", ""] if row.get("ap") is None else [f"{row['ap']:.3f}", row.get("start", "").partition(" ")[0]]


def _kind(row: Row) -> Sequence[str]:
    return [row.get("kind", "") + (", shipped" if row.get("kind") == "bridged" and row.get("shipped") else ""),
            row.get("adapter", "")]


COLUMNS = (
    Column("name", lambda row: [row["name"] + (MARK if row.get("pareto") else "")]),
    Column("kind, adapter", _kind),
    Column("parameters, M", _both("parameters", ",.1f")),
    Column("GFLOPs", _both("gflops", ",.1f")),
    Column("strides, channels", lambda row: [" ".join(map(str, row.get(key, ()))) for key in ("strides", "channels")]),
    *(Column(f"{form} {kind}, ms", _latency(form, kind)) for form, kind in LATENCIES),
    Column("inference, MB: eager, exported", lambda row: [_number(row.get(key), ",.0f")
                                                          for key in ("inference_peak", "exported_peak")]),
    Column("training step, MB", _training),
    Column("largest batch", _largest),
    Column("ImageNet top-1", _one("top1", ".1f")),
    Column("AP, from", _trained),
    Column("weights, licence", lambda row: [row.get("weights", ""), row.get("licence", "")]),
)


def used(rows: Sequence[Row]) -> list[Column]:
    """The columns that have anything in them."""
    return [column for column in COLUMNS if any(any(column.cell(row)) for row in rows)]


def marked(rows: Sequence[Row]) -> Axes | None:
    """Set 'pareto' in the rows; what the front is of, or None where nothing can be held against anything."""
    axes = axes_of([row for row in rows if row["status"] == "ok"])
    best = front(rows, axes) if axes else []
    for row in rows:
        row["pareto"] = row["name"] in best
    return axes


def notes(rows: Sequence[Row], facts: Sequence[str]) -> list[str]:
    """Lines for below the table: how it was measured, what the mark means, why a cell is empty, what failed."""
    axes = marked(rows)
    lines = [*facts, "Two lines in a cell: backbone, then whole detector. Milliseconds: median (lowest-highest)."]
    if axes:
        lines.append(f"{MARK} on the Pareto front, no other is better in both: {axes.text}.")
    if any(row.get("largest_batch") is not None for row in rows):
        lines.append("~ extrapolated from the two batches of the column before it.")
    return lines + [f"{text}" for text in _reasons(rows)]


def _reasons(rows):
    """Why cells are empty: a line for each reason, with what it concerns."""
    concerned = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for key, reason in row.get("missing", {}).items():
            concerned[reason][key.replace("_", " ")].append(row["name"])
    for reason, keys in concerned.items():
        names = list(dict.fromkeys(name for found in keys.values() for name in found))
        whom = "" if len(names) == sum(row["status"] == "ok" for row in rows) else f" of {', '.join(names)}"
        yield f"No {', '.join(keys)}{whom}: {reason}."
    for row in rows:
        if row["status"] != "ok":
            yield f"{row['name']} failed: {row['reason']}"


def show(rows: Sequence[Row], facts: Sequence[str]) -> None:
    """Print the table and its notes."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    lines = notes(rows, facts)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), leading=1)
    columns = used(rows)
    for column in columns:
        first = column is COLUMNS[0]
        table.add_column(column.title, justify="left" if first else "right", no_wrap=first, overflow="fold")
    for row in rows:
        cells = ["\n".join(column.cell(row)) for column in columns]
        table.add_row(*cells, style="bold" if row["pareto"] else "dim" if row["status"] != "ok" else "")
    console.print(table)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def as_markdown(rows: Sequence[Row], facts: Sequence[str]) -> str:
    """The page."""
    lines = notes(rows, facts)
    columns = used(rows)
    table = [[column.title for column in columns], ["---", *["--:"] * (len(columns) - 1)]]
    table += [["<br>".join(filter(None, column.cell(row))) for column in columns] for row in rows]
    parts = ["# Backbones compared", "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |"
                                               for line in table),
             "\n".join(f"- {line}" for line in lines), f"![]({NAME}.png)"]
    return "\n\n".join(parts) + "\n"


def flat(row: Row) -> Row:
    """A row without dicts and lists, for CSV."""
    values: Row = {}
    for key, value in row.items():
        if key == "missing":
            values[key] = "; ".join(f"{what}: {why}" for what, why in value.items())
        elif isinstance(value, dict):
            for name, inner in value.items():
                values.update({f"{key}_{name}_{part}": one for part, one in inner.items()} if isinstance(inner, dict)
                              else {f"{key}_{name}": inner})
        else:
            values[key] = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return values


def as_csv(rows: Sequence[Row]) -> str:
    """All figures, one row a network, a column for each that any row has."""
    flats = [flat(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in flats for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flats)
    return text.getvalue()


def write(rows: Sequence[Row], folder: str | Path, facts: Sequence[str]) -> list[Path]:
    """Write compare.md, .csv, .json and .png, all or none.

    Raises:
        UserError: the folder cannot be written.
    """
    prefix = Path(folder) / NAME
    axes = marked(rows)
    contents = {".md": as_markdown(rows, facts), ".csv": as_csv(rows),
                ".json": json.dumps({"facts": list(facts), "rows": list(rows)}, indent=1) + "\n"}
    with atomic_set(prefix, SUFFIXES) as paths:
        for suffix, text in contents.items():
            paths[suffix].write_text(text, encoding="utf-8")
        scatter(rows, axes, paths[".png"])
    return [prefix.with_suffix(suffix) for suffix in SUFFIXES]


def scatter(rows: Sequence[Row], axes: Axes | None, path: Path) -> None:
    """Time to the right, quality upwards; the front as a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), layout="tight")
    plot = figure.add_subplot()
    found = {row["name"]: (point(row, axes.time, axes.quality), row["pareto"]) for row in rows} if axes else {}
    points = {name: (place, best) for name, (place, best) in found.items() if place is not None}
    for name, (place, best) in points.items():
        plot.plot(*place, "o", color="C3" if best else "C0")
        plot.annotate(name.replace("$", r"\$"), place, textcoords="offset points", xytext=(5, 4), fontsize=8)
    line = sorted(place for place, best in points.values() if best)
    plot.plot(*zip(*line), color="C3", linewidth=1, label="Pareto front") if line else None
    if axes:
        plot.set(xlabel=f"{axes.time_name}, ms", ylabel=axes.quality_name)
        plot.margins(0.15)
    plot.grid(alpha=0.3)
    FigureCanvasAgg(figure).print_png(str(path))
