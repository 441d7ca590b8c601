# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Suggested networks tried: a short training each of the same steps, AP over steps, the cheapest of the good ones."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import atomic_set
from . import catalogue

POINT = 0.01  # of AP; so near to the best a cheaper network is the better choice
NAME, SUFFIXES = "suggest", (".md", ".json", ".png")
Result = dict[str, Any]
HEADER = ("network", "AP", "started from", "GFLOPs", "weights, M", "latency (estimated)", "seconds")


def table(results: Mapping[str, Result], like: str) -> list[dict[str, Any]]:
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
    return sorted(rows, key=lambda row: -1.0 if row["ap"] is None else -row["ap"] - 1.0)


def choice(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row with the lowest latency within a POINT of the highest AP; None where no training gave one."""
    rated = [row for row in rows if row["ap"] is not None]
    if not rated:
        return None
    best = max(row["ap"] for row in rated)
    return min((row for row in rated if row["ap"] >= best - POINT), key=lambda row: (row["latency"], -row["ap"]))


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line: which one to take, and why."""
    chosen = choice(rows)
    if chosen is None:
        return "no training gave an AP; the logs say why"
    best = next(row for row in rows if row["ap"] is not None)
    if not best["ap"]:
        return "AP is 0 for all: more --steps, or --pretrained true, would tell them apart"
    if chosen is best:
        return f"take {chosen['name']}: the highest AP, {best['ap']:.3f}, and no cheaper one within a point of it"
    return (f"take {chosen['name']}: AP {chosen['ap']:.3f} is within one point of the highest ({best['name']}, "
            f"{best['ap']:.3f}), at {chosen['latency'] / best['latency']:.2f}x its latency (estimated)")


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row's cells, in the order of HEADER."""
    ap = f"{row['ap']:.3f}" if row["ap"] is not None else row["status"]
    return [row["name"], ap, row["start"].partition(" ")[0], f"{row['gflops']:.1f}", f"{row['parameters']:.1f}",
            f"{row['latency']:.2f}x", f"{row['seconds']:.0f}"]


def as_markdown(rows: Sequence[Mapping[str, Any]], facts: Sequence[str]) -> str:
    """The page: table, verdict, plot."""
    lines = [HEADER, ["---", *["--:"] * (len(HEADER) - 1)], *map(cells, rows)]
    failed = [f"- {row['name']} failed: {row['reason']}" for row in rows if row["status"] != "ok"]
    return "\n\n".join(["# Backbones tried", "\n".join(f"| {' | '.join(line)} |" for line in lines),
                        f"**{verdict(rows)}.**", "\n".join([*(f"- {fact}" for fact in facts), *failed]),
                        f"![AP over steps]({NAME}.png)"]) + "\n"


def write(rows: Sequence[Mapping[str, Any]], facts: Sequence[str], folder: str | Path) -> list[Path]:
    """Write suggest.md, .json and .png, all or none.

    Raises:
        UserError: the folder cannot be written.
    """
    prefix = Path(folder) / NAME
    with atomic_set(prefix, SUFFIXES) as paths:
        paths[".md"].write_text(as_markdown(rows, facts), encoding="utf-8")
        paths[".json"].write_text(json.dumps({"verdict": verdict(rows), "facts": list(facts), "rows": list(rows)},
                                             indent=1) + "\n", encoding="utf-8")
        plot(rows, paths[".png"])
    return [prefix.with_suffix(suffix) for suffix in SUFFIXES]


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """AP over steps, a line for each network; the chosen one is thick."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = choice(rows)
    figure = Figure(figsize=(7.2, 4.6), layout="tight")
    axes = figure.add_subplot()
    for row in rows:
        if row["curve"]:
            axes.plot(*zip(*row["curve"]), marker="o", linewidth=3 if row is chosen else 1.2,
                      label=row["name"].replace("$", r"\$"))
    axes.set(xlabel="steps", ylabel="AP")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=8)
    FigureCanvasAgg(figure).print_png(str(path))
