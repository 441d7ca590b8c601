# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Which networks no other beats: the Pareto front of time against how good the weights are, or against size."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..report.page import Words

#: what stands for quality, best first: column, how it is called, whether more is better
QUALITIES = (("ap", ("AP of the short training", "短训练的 AP"), True),
             ("top1", ("ImageNet top-1", "ImageNet top-1"), True),
             ("parameters", ("parameters of the backbone", "骨干网络的参数量"), False))
#: what stands for time, best first
TIMES = (("detector_exported_fp32", ("latency of the detector, exported, fp32", "导出后检测器的延迟 (fp32)")),
         ("detector_eager_fp32", ("latency of the detector, eager, fp32", "动态图检测器的延迟 (fp32)")),
         ("backbone_exported_fp32", ("latency of the backbone, exported, fp32", "导出后骨干网络的延迟 (fp32)")),
         ("backbone_eager_fp32", ("latency of the backbone, eager, fp32", "动态图骨干网络的延迟 (fp32)")))
WITHOUT: Words = (", fewest first (no AP or top-1 is known)", "(越少越好;没有 AP 或 top-1)")


@dataclass(frozen=True)
class Axes:
    """What the front is of: columns, their names, and whether more of the quality is better."""

    time: str
    time_name: Words
    quality: str
    quality_name: Words
    more_is_better: bool

    @property
    def text(self) -> Words:
        """One line: what is held against what."""
        why = ("", "") if self.more_is_better else WITHOUT
        return (f"{self.quality_name[0]}{why[0]} against {self.time_name[0]}",
                f"{self.quality_name[1]}{why[1]} 与 {self.time_name[1]}")


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
