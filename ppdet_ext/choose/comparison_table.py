# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A comparison's rows as a table: in the terminal, in markdown, as CSV and JSON, as a picture and a page."""
from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..files import atomic_set
from ..report.figures import name_of, new_figure, write_png
from ..report.page import Picture, Words, comparison_page
from .pareto import Axes, axes_of, front, point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "compare"  # of the files
SUFFIXES = (".html", ".md", ".csv", ".json", ".png")
WIDTH = 200  # characters of a line where the output is no terminal
NAMED = 25  # networks in the picture; of more only those on the front have their names beside them
MARK = "*"  # beside the names on the front
Row = dict[str, Any]


class Column(NamedTuple):
    """A column: its title, and a row's cell, of one line or of two (backbone, detector)."""

    title: Words
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
    return [f"{batch}: {peak:,.0f}" for batch, peak in row.get("training_peak", {}).items()]


def _largest(row: Row) -> Sequence[str]:
    """Marked as what it is: ~ extrapolated, and beside it what was then measured."""
    if row.get("largest_batch") is None:
        return [""]
    lines = [f"~{row['largest_batch']}", f"~{row['largest_batch_peak']:,.0f} MB"]
    return lines + ([f"measured {row['confirmed_peak']:,.0f} MB"] if row.get("confirmed_peak") else [])


def _trained(row: Row) -> Sequence[str]:
    """AP, and what the training started from: random weights explain a low one."""
    return ["", ""] if row.get("ap") is None else [f"{row['ap']:.3f}", row.get("start", "").partition(" ")[0]]


FORMS = {"eager": "动态图", "exported": "导出后"}
COLUMNS = (
    Column(("name", "名称"), lambda row: [row["name"] + (MARK if row.get("pareto") else "")]),
    Column(("how, adapter", "来源、适配器"), lambda row: [row.get(key, "") for key in ("how", "adapter")]),
    Column(("parameters, M", "参数量 (M)"), _both("parameters", ",.1f")),
    Column(("GFLOPs", "GFLOPs"), _both("gflops", ",.1f")),
    Column(("strides, channels", "步幅、通道数"),
           lambda row: [" ".join(map(str, row.get(key, ()))) for key in ("strides", "channels")]),
    *(Column((f"{form} {kind}, ms", f"{words} {kind} (毫秒)"), _latency(form, kind))
      for form, words in FORMS.items() for kind in ("fp32", "bf16")),
    Column(("inference, MB: eager, exported", "推理内存 (MB):动态图、导出后"),
           lambda row: [_number(row.get(key), ",.0f") for key in ("inference_peak", "exported_peak")]),
    Column(("training step, batch: MB", "训练一步,批大小:内存 (MB)"), _training),
    Column(("largest batch", "最大批大小"), _largest),
    Column(("ImageNet top-1", "ImageNet top-1"), _one("top1", ".1f")),
    Column(("AP, from", "AP、起点"), _trained),
    Column(("weights, licence", "权重、许可证"), lambda row: [row.get("weights", ""), row.get("licence", "")]),
)
TWO_LINES: Words = ("Two lines in a cell: backbone, then whole detector. Milliseconds: median (lowest-highest).",
                    "一格两行时:先骨干网络,后整个检测器。毫秒:中位数 (最小-最大)。")
EXTRAPOLATED: Words = ("~ extrapolated from the two batches of the column before it.",
                       "~ 由前一列的两个批大小外推得到。")


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


def notes(rows: Sequence[Row], facts: Sequence[Words]) -> list[Words]:
    """Lines for below the table: how it was measured, what the mark means, why a cell is empty, what failed."""
    axes = marked(rows)
    lines = [*facts, TWO_LINES]
    if axes:
        lines.append((f"{MARK} on the Pareto front, no other is better in both: {axes.text[0]}.",
                      f"{MARK} 在 Pareto 前沿上,没有其他网络两方面都更好:{axes.text[1]}。"))
    if any(row.get("largest_batch") is not None for row in rows):
        lines.append(EXTRAPOLATED)
    return lines + list(_reasons(rows))


def _reasons(rows):
    """Why cells are empty: a line for each reason, with what it concerns."""
    concerned = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for key, reason in row.get("missing", {}).items():
            concerned[reason][key.replace("_", " ")].append(row["name"])
    for reason, keys in concerned.items():
        names = list(dict.fromkeys(name for found in keys.values() for name in found))
        whom = "" if len(names) == sum(row["status"] == "ok" for row in rows) else f" of {', '.join(names)}"
        yield f"No {', '.join(keys)}{whom}: {reason}.", f"{', '.join(keys)}{whom} 为空:{reason}"
    for row in rows:
        if row["status"] != "ok":
            yield f"{row['name']} failed: {row['reason']}", f"{row['name']} 失败:{row['reason']}"


def show(rows: Sequence[Row], facts: Sequence[Words]) -> None:
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
        whole = column is COLUMNS[0] or column.title[0].endswith("ms")
        table.add_column(column.title[0], justify="left" if column is COLUMNS[0] else "right", no_wrap=whole,
                         overflow="fold")
    for row in rows:
        cells = ["\n".join(column.cell(row)) for column in columns]
        table.add_row(*cells, style="bold" if row["pareto"] else "dim" if row["status"] != "ok" else "")
    console.print(table)
    for line, _ in lines:
        console.print(line, markup=False, soft_wrap=True)


def as_markdown(rows: Sequence[Row], facts: Sequence[Words]) -> str:
    """The page."""
    lines, columns = notes(rows, facts), used(rows)
    cells = [[column.title[0] for column in columns]]
    cells += [["<br>".join(filter(None, map(_plain, column.cell(row)))) for column in columns] for row in rows]
    table = [f"| {' | '.join(line)} |" for line in (cells[0], ["---", *["--:"] * (len(columns) - 1)], *cells[1:])]
    return "\n\n".join(["# Backbones compared", "\n".join(table), "\n".join(f"- {_plain(line)}" for line, _ in lines),
                        f"![]({NAME}.png)"]) + "\n"


def _plain(text):
    """Signs that markdown would take for its own: the front's mark, what is extrapolated, a column's border."""
    return re.sub(r"[|*~]", r"\\\g<0>", text)


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


def as_html(rows: Sequence[Row], facts: Sequence[Words]) -> str:
    """The page for a browser, in both languages, with nothing outside of it."""
    lines, columns = notes(rows, facts), dict(enumerate(used(rows)))
    cells = [{str(place): " / ".join(filter(None, column.cell(row))) for place, column in columns.items()}
             | {"pareto": row["pareto"]} for row in rows]
    figures = [Picture.of(scatter(rows), ("Time and quality", "延迟与质量"))]
    return comparison_page(cells, columns={str(place): column.title for place, column in columns.items()},
                           figures=figures, notes=lines, marked="pareto")


def write(rows: Sequence[Row], folder: str | Path, facts: Sequence[Words]) -> list[Path]:
    """Write compare.md, .csv, .json, .png and .html, all or none.

    Raises:
        UserError: the folder cannot be written.
    """
    prefix = Path(folder) / NAME
    contents = {".md": as_markdown(rows, facts), ".csv": as_csv(rows), ".html": as_html(rows, facts),
                ".json": json.dumps({"facts": [line for line, _ in facts], "rows": list(rows)}, indent=1) + "\n"}
    with atomic_set(prefix, SUFFIXES) as paths:
        for suffix, text in contents.items():
            paths[suffix].write_text(text, encoding="utf-8")
        write_png(scatter(rows), paths[".png"])
    return [prefix.with_suffix(suffix) for suffix in SUFFIXES]


def scatter(rows: Sequence[Row]) -> Figure:
    """Time to the right, quality upwards; the front as a line."""
    axes, figure = marked(rows), new_figure(7.2, 4.6)
    plot = figure.add_subplot()
    found = {row["name"]: (point(row, axes.time, axes.quality), row["pareto"]) for row in rows} if axes else {}
    points = {name: (place, best) for name, (place, best) in found.items() if place is not None}
    times = [place[0] for place, _ in points.values()]
    middle = (min(times) + max(times)) / 2 if times else 0
    for name, (place, best) in points.items():
        plot.plot(*place, "o", color="C3" if best else "C0")
        if best or len(points) <= NAMED:
            left = place[0] > middle  # its name then stays in the picture
            plot.annotate(name_of(name), place, textcoords="offset points", xytext=(-5 if left else 5, 4),
                          ha="right" if left else "left", fontsize=8)
    line = sorted(place for place, best in points.values() if best)
    if axes and line:
        plot.plot(*zip(*line), color="C3", linewidth=1, label="Pareto front")
        plot.legend(fontsize=8)
        plot.set(xlabel=f"{axes.time_name[0]}, ms", ylabel=axes.quality_name[0])
        plot.margins(0.15)
    plot.grid(alpha=0.3)
    return figure
