# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Suggested networks tried: a short training each of the same steps, AP over steps, the cheapest of the good ones."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import atomic_set
from ..report.figures import name_of, new_figure, write_png
from ..report.page import Picture, Words, comparison_page
from . import catalogue

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINT = 0.01  # of AP; so near to the best a cheaper network is the better choice
NAME, SUFFIXES = "suggest", (".html", ".md", ".json", ".png")
TITLE: Words = ("Backbones tried", "试训的骨干网络")
CURVES: Words = ("AP over steps; the thick line is the one to take", "AP 随步数的变化;粗线为推荐的网络")
Row = dict[str, Any]
COLUMNS: dict[str, Words] = {
    "name": ("network", "网络"), "ap": ("AP", "AP"), "start": ("started from", "起点"),
    "gflops": ("GFLOPs of the features", "特征的 GFLOPs"), "parameters": ("weights, M", "权重,百万"),
    "latency": ("latency, estimated, relative", "延迟(估计,相对值)"), "seconds": ("seconds", "秒"),
}


def table(results: Mapping[str, Mapping[str, Any]], like: str) -> list[Row]:
    """Rows of the trainings, the highest AP first, failed ones last.

    Args:
        results: {name: result} of short_runs.train.
        like: the network that latencies are given relative to.
    """
    quickness = catalogue.find(like).milliseconds
    rows = []
    for name, result in results.items():
        facts = catalogue.find(name)
        rows.append({"name": name, "status": result["status"], "reason": result.get("reason", ""),
                     "ap": result.get("ap"), "curve": result.get("curve", []), "start": result.get("start", ""),
                     "gflops": round(facts.gflops, 2), "parameters": round(facts.backbone_parameters, 2),
                     "latency": round(facts.milliseconds / quickness, 2), "seconds": result.get("seconds"),
                     "folder": result.get("folder", "")})
    return sorted(rows, key=lambda row: -1.0 if row["ap"] is None else -row["ap"] - 2.0)


def choice(rows: Sequence[Row]) -> Row | None:
    """The row with the lowest latency within a POINT of the highest AP; None where no training gave one."""
    rated = [row for row in rows if row["ap"] is not None]
    if not rated:
        return None
    best = max(row["ap"] for row in rated)
    return min((row for row in rated if row["ap"] >= best - POINT), key=lambda row: (row["latency"], -row["ap"]))


def verdict(rows: Sequence[Row]) -> Words:
    """Which one to take, and why."""
    chosen = choice(rows)
    if chosen is None:
        return "No training gave an AP; the logs say why.", "没有训练得到 AP,原因见日志。"
    best = next(row for row in rows if row["ap"] is not None)
    if best["ap"] < POINT:
        return ("AP is below one point for all: more --steps, or --pretrained true, would tell them apart.",
                "AP 都不到一个百分点:增加 --steps 或使用 --pretrained true 才能分出高下。")
    if chosen is best:
        return (f"Take {chosen['name']}: the highest AP, {best['ap']:.3f}, and no cheaper one is within a point of it.",
                f"建议 {chosen['name']}:AP 最高 ({best['ap']:.3f}),一个百分点之内没有更省的网络。")
    share = chosen["latency"] / best["latency"]
    return (f"Take {chosen['name']}: AP {chosen['ap']:.3f} is within one point of the highest ({best['name']}, "
            f"{best['ap']:.3f}), at {share:.2f}x its latency (estimated).",
            f"建议 {chosen['name']}:AP {chosen['ap']:.3f} 与最高者 ({best['name']},{best['ap']:.3f}) "
            f"相差不到一个百分点,估计延迟为其 {share:.2f} 倍。")


def notes(rows: Sequence[Row], facts: Sequence[Words]) -> list[Words]:
    """Verdict, how it was tried, what failed."""
    failed = [f"{row['name']}: {row['reason']}" for row in rows if row["status"] != "ok"]
    return [verdict(rows), *facts, *((f"failed: {line}", f"失败:{line}") for line in failed)]


def cells(row: Row) -> list[str]:
    """A row's cells for the markdown table, in the order of COLUMNS."""
    ap = f"{row['ap']:.3f}" if row["ap"] is not None else row["status"]
    return [row["name"], ap, row["start"].partition(" ")[0], f"{row['gflops']:.1f}", f"{row['parameters']:.1f}",
            f"{row['latency']:.2f}x", f"{row['seconds']:.0f}"]


def as_markdown(rows: Sequence[Row], facts: Sequence[Words]) -> str:
    """The page in English: table, verdict, plot."""
    lines = [[title for title, _ in COLUMNS.values()], ["---", *["--:"] * (len(COLUMNS) - 1)], *map(cells, rows)]
    first, *others = (english for english, _ in notes(rows, facts))
    return "\n\n".join([f"# {TITLE[0]}", "\n".join(f"| {' | '.join(line)} |" for line in lines), f"**{first}**",
                        "\n".join(f"- {line}" for line in others), f"![{CURVES[0]}]({NAME}.png)"]) + "\n"


def write(rows: Sequence[Row], facts: Sequence[Words], folder: str | Path) -> list[Path]:
    """Write suggest.html (English and Chinese), .md, .json and .png, all or none.

    Raises:
        UserError: the folder cannot be written.
    """
    prefix, figure, chosen = Path(folder) / NAME, plot(rows), choice(rows)
    shown = [{**row, "take": row is chosen} for row in rows]
    page = comparison_page(shown, title=TITLE, columns=COLUMNS, figures=[Picture.of(figure, CURVES)],
                           notes=notes(rows, facts), marked="take")
    data = {"verdict": verdict(rows)[0], "facts": [english for english, _ in facts], "rows": shown}
    with atomic_set(prefix, SUFFIXES) as paths:
        paths[".html"].write_text(page, encoding="utf-8")
        paths[".md"].write_text(as_markdown(rows, facts), encoding="utf-8")
        paths[".json"].write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        write_png(figure, paths[".png"])
    return [prefix.with_suffix(suffix) for suffix in SUFFIXES]


def plot(rows: Sequence[Row]) -> Figure:
    """AP over steps, a line for each network; the chosen one is thick."""
    chosen, figure = choice(rows), new_figure(7.2, 4.6)
    axes = figure.add_subplot()
    for row in rows:
        if row["curve"]:
            axes.plot(*zip(*row["curve"]), marker="o", linewidth=3 if row is chosen else 1.2,
                      label=name_of(row["name"]))
    axes.set(xlabel="steps", ylabel="AP")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=8)
    return figure
