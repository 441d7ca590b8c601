# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A sweep's rows as a CSV file with everything and a markdown page to read."""
from __future__ import annotations

import csv
import importlib.metadata
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..files import atomic_path

COLUMNS = ("name", "library", "family", "status", "reason", "depth", "parameters", "trace_seconds", "nodes", "sizes",
           "forward", "forward64", "gradient", "gradient64", "statistics", "export", "export_size", "seconds", "note",
           "guards")
PACKAGES = ("timm", "torchvision", "torch", "paddlepaddle", "paddledet")
ERRORS = ("forward", "gradient", "statistics", "export")


def _in_float64(row):
    return row.get("forward64") is not None or row.get("gradient64") is not None


def _compared(row):
    return row["status"] == "ok" and row.get("depth") != "trace only"


COUNTS = {
    "names": lambda row: True,
    "traced": lambda row: row.get("nodes", 0) > 0,
    "within tolerance": _compared,
    "- in float32": lambda row: _compared(row) and not _in_float64(row),
    "- in float64, where float32 drifts through depth": lambda row: _compared(row) and _in_float64(row),
    "- gradients with running statistics, where batch statistics magnify rounding": lambda row: (
        _compared(row) and bool(row.get("note"))),
    "- at reduced depth": lambda row: _compared(row) and row.get("depth") == "reduced",
    "traced only, too large to compare": lambda row: row["status"] == "ok" and row.get("depth") == "trace only",
    "falling short": lambda row: row["status"] != "ok",
}


def write(rows: Iterable[dict], folder: str | Path, facts: Sequence[str] = ()) -> tuple[Path, Path]:
    """Write sweep.csv and sweep.md.

    Args:
        rows: what ``measure`` gives; a key that is not there is an empty cell.
        facts: lines of text above the tables (tolerances and the like).

    Returns:
        (Path of the CSV file, Path of the markdown page).
    """
    rows = sorted(rows, key=lambda row: row["name"])
    paths = Path(folder) / "sweep.csv", Path(folder) / "sweep.md"
    with atomic_path(paths[0]) as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([_plain(row.get(column)) for column in COLUMNS] for row in rows)
    with atomic_path(paths[1]) as path:
        path.write_text(page(rows, facts), encoding="utf-8")
    return paths


def short(rows: Iterable[dict]) -> list[dict]:
    """Those that are not ok."""
    return [row for row in rows if row["status"] != "ok"]


def summary(rows: Sequence[dict]) -> str:
    """The counts, one a line."""
    return "\n".join(f"{label}: {sum(map(counts, rows))}" for label, counts in COUNTS.items())


def page(rows: Sequence[dict], facts: Sequence[str] = ()) -> str:
    """The markdown page."""
    parts = ["# Every backbone through the bridge, measured",
             "Written by tools/sweep_bridge.py; all figures, guards and reasons in full: [sweep.csv](sweep.csv).",
             "\n".join(f"- {fact}" for fact in (_versions(), *facts)), "## Summary", _summary_table(rows)]
    if short(rows):
        parts += ["## Falling short", _short_table(short(rows))]
    parts += ["## Families", "The worst max|d|/max|ref| of each family; \\*: in float64, where it was needed.",
              _family_table(rows)]
    parts += ["## Models", "\\*: in float64. Guards: conditions on the input under which the graph holds.",
              _full_table(rows)]
    return "\n\n".join(parts) + "\n"


def _versions():
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue  # paddlepaddle-gpu, say
    return ", ".join(found)


def _summary_table(rows):
    groups = {library: [row for row in rows if row.get("library") == library]
              for library in sorted({row.get("library", "") for row in rows})}
    groups = {**groups, "all": rows} if len(groups) != 1 else groups
    return _table(["", *groups], [[label, *(sum(map(counts, group)) for group in groups.values())]
                                  for label, counts in COUNTS.items()], numbers=True)


def _short_table(rows):
    """One line a reason: reasons that differ in numbers alone are one."""
    groups = defaultdict(list)
    for row in rows:
        groups[re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "#", row["reason"])].append(row)
    ordered = sorted(groups.values(), key=lambda group: (-len(group), group[0]["reason"]))
    return _table(["models", "reason (of the first)", "names"],
                  [[len(group), group[0]["reason"], ", ".join(row["name"] for row in group)] for group in ordered])


def _family_table(rows):
    groups = defaultdict(list)
    for row in rows:
        groups[row.get("family") or "?"].append(row)
    return _table(["family", "names", "falling short", *ERRORS],
                  [[family, len(group), len(short(group)) or "", *(_worst(group, error) for error in ERRORS)]
                   for family, group in sorted(groups.items())], numbers=True)


def _full_table(rows):
    header = ["name", "parameters (M)", "trace (s)", "guards", "sizes", *ERRORS, "depth"]
    return _table(header, [_full_line(row) for row in rows], numbers=True)


def _full_line(row):
    status = row.get("depth", "") if row["status"] == "ok" else row["status"]
    return [row["name"], _number(row.get("parameters"), ".1f"), _number(row.get("trace_seconds"), ".2f"),
            len(row.get("guards") or ()) or "", ", ".join(row.get("sizes") or ()),
            *(_shown(*_error(row, error)) for error in ERRORS), status]


def _error(row, kind):
    """(worst value, whether it is in float64) of a row; (None, False) where it was not measured."""
    precise = row.get(f"{kind}64")
    values = row.get(kind) if precise is None else precise
    values = values if isinstance(values, list) else [values]
    return max((value for value in values if value is not None), key=_size, default=None), precise is not None


def _worst(rows, kind):
    found = [_error(row, kind) for row in rows]
    return _shown(*max(found, key=lambda one: _size(one[0])))


def _size(value):
    """Order of errors: none at all < numbers < not a number."""
    return -1.0 if value is None else math.inf if math.isnan(value) else value


def _shown(value, precise):
    return _number(value, ".0e") + ("\\*" if precise and value is not None else "")


def _number(value, form):
    return "" if value is None else format(value, form)


def _plain(value):
    return " | ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _table(header, lines, numbers=False):
    """A markdown table; with ``numbers`` all columns but the first are set to the right."""
    rule = ["---", *(["--:" if numbers else "---"] * (len(header) - 1))]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in (header, rule, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
