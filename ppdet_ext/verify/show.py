# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A report in the terminal: the table of stages, and a line for each check."""
from __future__ import annotations

import sys
from typing import Any

from .findings import FAILED, OK, SKIPPED, WARNING, Report

MARKS = {OK: ("ok", "green"), WARNING: ("warning", "yellow"), FAILED: ("FAILED", "red"), SKIPPED: ("skipped", "dim")}
WIDTH = 120  # where the output goes to a file
COLUMNS = ("stage", "shape", "stride", "channels", "out_shape", "field", "effective", "mean", "deviation", "dead")


def show(report: Report) -> None:
    """Print the table and the checks to standard output."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    title = f"{report.name}, image {report.size[0]}x{report.size[1]}, weights: {escape(report.weights or 'unknown')}"
    table = Table(title=title, title_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("stage", "shape") else "right")
    for index, stage in enumerate(report.stages):
        table.add_row(*row(index, stage), style=None if stage["fits"] else "red")
    if report.stages:
        console.print(table)
    width = max((len(finding.check) for finding in report.findings), default=0)
    for finding in report.findings:
        mark, colour = MARKS[finding.status]
        console.print(f"[{colour}]{mark:8}[/{colour}] {finding.check:{width}}  {escape(finding.text)}", soft_wrap=True)


def row(index: int, stage: dict[str, Any]) -> list[str]:
    """The cells of one stage, in the order of COLUMNS."""
    wanted = stage["wanted"]
    field = stage["theoretical_field"]
    side = f"{field[0]}x{field[1]}" if field else "-"
    return [str(index), "x".join(map(str, stage["shape"])), _number(stage["stride"], "g"),
            _number(stage["channels"], "d"), f"{wanted['stride']} ({wanted['channels']})" if wanted else "-",
            f"{side} (all)" if stage["whole_image"] else side, _number(stage["effective_field"], ".0f"),
            _number(stage["mean"], ".3g"), _number(stage["deviation"], ".3g"), _number(stage["dead_channels"], ".0%")]


def _number(value, form):
    return "-" if value is None else format(value, form)
