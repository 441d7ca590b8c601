# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``runs.html`` of a folder: its runs by AP, time for a picture, and memory, each with a link to its own page."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..report import runs_page
from ..report.page import Words
from . import run_folders
from .run_folders import Run

COLUMNS: dict[str, Words] = {
    "name": ("run", "训练"), "state": ("state", "状态"), "ap": ("AP", ""), "ap50": ("AP50", ""),
    "eval_ms": ("ms, evaluation", "评估毫秒"), "train_ms": ("ms, training", "训练毫秒"),
    "memory": ("memory, MiB", "内存 MiB"), "curve": ("curve", "曲线"), "epochs": ("epochs", "轮数"),
    "minutes": ("minutes", "分钟"), "warnings": ("warnings", "警告"), "settings": ("differs in", "不同的设置")}
PLACES = {"ap": 4, "ap50": 4, "eval_ms": 1, "train_ms": 1, "memory": 0, "minutes": 1}  # after the point
NOTES: tuple[Words, ...] = (
    ("A click on a column's head sorts by it. AP is the best evaluation's. Milliseconds are for one picture, as the "
     "run took them, with its reading and in batches. Memory is the most that the process took, on a GPU its tensors. "
     "Minutes are those of training. Not finished: it was stopped, or it still trains.",
     "点击表头即可排序。AP 取最好的一次评估。毫秒数是训练时每张图片所用的时间,含读图,按批次计。内存为进程的峰值,"
     "在 GPU 上为张量所占。分钟数是训练的时间。未完成:已中断,或仍在训练。"),)



def write(folder: str | Path, target: str | Path | None = None) -> tuple[Path, list[Run]]:
    """Write the page of the runs below ``folder``; its path, and the runs.

    Args:
        target: the page's file (default: runs.html in ``folder``).

    Raises:
        UserError: no folder, no run in it, or the page cannot be written.
    """
    runs = run_folders.find(folder)
    path = Path(target) if target else Path(folder) / runs_page.NAME
    runs_page.write(path, rows(runs, path.parent), COLUMNS, NOTES)
    return path, runs


def rows(runs: list[Run], beside: Path) -> list[dict[str, Any]]:
    """Each run as a row of the page that lies in the folder ``beside``."""
    differ = run_folders.differences(runs)
    found = []
    for number, run in enumerate(runs):
        row: dict[str, Any] = {key: getattr(run, key, None) for key in COLUMNS}
        row.update({key: round(row[key], places) for key, places in PLACES.items() if row[key] is not None})
        row["settings"] = [(name, values[number]) for name, values in differ.items() if values[number]]
        row["link"] = _link(run.page, beside) if run.page else ""
        row["points"], row["curve_of"] = runs_page.sparkline(run.curve), run.curve_of
        found.append(row)
    return found


def _link(page: Path, beside: Path) -> str:
    """A relative address where the page can have one, so that the folder can be moved or sent."""
    # "./": a folder's name may look like an address of another kind (a:b)
    return quote(f"./{Path(os.path.relpath(page, beside)).as_posix()}")
