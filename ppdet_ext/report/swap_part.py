# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A swapped backbone's part of a page: what was kept, made, aligned, reset and dropped, out of report.json's data."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .page import Words

SWAP_COLUMNS: Mapping[str, Words] = {"part": ("part", "部分"), "tensors": ("tensors", "张量数"),
                                     "what": ("what", "处理"), "why": ("why", "原因")}
ACTIONS: Mapping[str, Words] = {"kept": ("kept", "保留"), "made": ("made", "新建"), "aligned": ("aligned", "对齐"),
                                "reset": ("reset", "重置"), "dropped": ("dropped", "舍弃")}


@dataclass(frozen=True)
class SwapPart:
    """What the template shows: (words, value) pairs, rows of the table, notes."""

    facts: Sequence[tuple[Words, Any]]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str]


def swap_part(data: Mapping[str, Any]) -> SwapPart:
    """The part of a page; ``data`` is what ``swap_report.SwapReport.as_dict`` gives."""
    facts: list[tuple[Words, Any]] = [
        (("detector kept from", "保留的检测器"), data["source"]), (("sha256", ""), data["sha256"]),
        (("licence", "许可证"), data["licence"]), (("old backbone", "旧骨干网络"), data["old_backbone"]),
        (("new backbone", "新骨干网络"), data["new_backbone"]), (("its first weights", "其初始权重"), data["start"]),
        *((ACTIONS[word], count) for word, count in data["counts"].items())]
    rows = [{**row, "what": ACTIONS[row["what"]]} for row in data["rows"]]
    return SwapPart([(words, value) for words, value in facts if value not in ("", None)], rows, data["notes"])
