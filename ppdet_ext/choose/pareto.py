# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Which networks no other beats: the Pareto front of time against how good the weights are, or against size."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: what stands for quality, best first: column, how it is called, whether more is better
QUALITIES = (("ap", "AP of the short training", True), ("top1", "ImageNet top-1", True),
             ("parameters", "parameters of the backbone", False))
#: what stands for time, best first
TIMES = tuple((f"{part}_{form}_fp32", f"latency of the {part}, {form}, fp32")
              for part in ("detector", "backbone") for form in ("exported", "eager"))


@dataclass(frozen=True)
class Axes:
    """What the front is of: columns, their names, and whether more of the quality is better."""

    time: str
    time_name: str
    quality: str
    quality_name: str
    more_is_better: bool

    @property
    def text(self) -> str:
        """One line: what is held against what."""
        why = "" if self.more_is_better else ", fewest first (no AP or top-1 is known)"
        return f"{self.quality_name}{why} against {self.time_name}"


def axes_of(rows: Sequence[dict[str, Any]]) -> Axes | None:
    """The first quality that at least two networks have, and the first time that these have; None without any.

    One network alone has no rival: then what it has is enough.
    """
    least = min(2, len(rows))
    for quality, quality_name, more in QUALITIES:
        for time, time_name in TIMES:
            if least and sum(point(row, time, quality) is not None for row in rows) >= least:
                return Axes(time, time_name, quality, quality_name, more)
    return None


def point(row: dict[str, Any], time: str, quality: str) -> tuple[float, float] | None:
    """(median ms, quality) of a row; None where one of them is not known."""
    measured, value = row.get("latency", {}).get(time), row.get(quality)
    return None if measured is None or value is None else (measured["median"], value)


def front(rows: Sequence[dict[str, Any]], axes: Axes) -> list[str]:
    """Names of the rows that no other is at least as good as in both, and better in one."""
    sign = 1 if axes.more_is_better else -1
    points = {row["name"]: (-found[0], sign * found[1]) for row in rows
              if (found := point(row, axes.time, axes.quality)) is not None}
    return [name for name, own in points.items()
            if not any(other != own and other[0] >= own[0] and other[1] >= own[1] for other in points.values())]
