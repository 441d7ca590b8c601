#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""How time and memory of a training step of RT-DETR R18 grow with the batch, the image and the number of queries.

python benchmarks/growth.py --output docs/benchmarks

One thing grows at a time; every point is a process of its own. Writes growth.json, .md and .png. Time and memory should
be lines over images, pixels and queries (encoder attention, quadratic in the coarsest map, and attention among queries
are small parts).
"""
import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from machine import about
from training_step import Side

BASE = {"batch": 2, "size": 320, "queries": 300}
GROWS = {"batch": [1, 2, 4, 8], "size": [256, 320, 448, 576, 640], "queries": [100, 300, 600, 900]}
AXES = {"batch": ("images in a batch", lambda batch: batch), "size": ("pixels, thousands", lambda size: size**2 / 1e3),
        "queries": ("queries", lambda queries: queries)}


def measure(point, args, rounds=3):
    """(seconds of a step, MiB that it needs) at a point, such as BASE."""
    settings = argparse.Namespace(**{**vars(args), "batch": point["batch"], "queries": point["queries"]})
    side = Side("ours", {}, args.backbone, point["size"], settings)
    try:
        times = []
        for _ in range(rounds + 2):
            start = time.perf_counter()
            side.step()
            times.append(time.perf_counter() - start)
    finally:
        side.close()
    return statistics.median(times[2:]), side.peak


def line(x, y):
    """Slope, intercept and R squared of the line through points."""
    slope, intercept = np.polyfit(x, y, 1)
    rest = np.sum((y - np.polyval((slope, intercept), x)) ** 2)
    return slope, intercept, 1 - rest / np.sum((y - np.mean(y)) ** 2)


def draw(path, series):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(series), figsize=(3.8 * len(series), 5.6), squeeze=False)
    for column, (what, rows) in enumerate(series.items()):
        label, scale = AXES[what]
        x = [scale(row["value"]) for row in rows]
        for axis, key, name in ((axes[0][column], "seconds", "s"), (axes[1][column], "mib", "MiB")):
            y = [row[key] for row in rows]
            slope, intercept, fit = line(x, y)
            axis.plot(x, y, "o")
            axis.plot(x, np.polyval((slope, intercept), x), linewidth=1)
            axis.set_title(f"R² {fit:.3f}", fontsize=9)
            axis.set_xlabel(label)
            axis.set_ylabel(name)
            axis.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def page(facts, args, series):
    lines = [f"{', '.join(map(' '.join, facts.items()))}; {args.threads} threads, {args.backbone}\n"]
    for what, rows in series.items():
        fixed = ", ".join(f"{key} {value}" for key, value in BASE.items() if key != what)
        x = [AXES[what][1](row["value"]) for row in rows]
        fits = [line(x, [row[key] for row in rows])[2] for key in ("seconds", "mib")]
        lines += [f"### {what} ({fixed})\n", f"| {what} | s | MiB |", "|---|---|---|"]
        lines += [f"| {row['value']} | {row['seconds']:.2f} | {row['mib']} |" for row in rows]
        lines.append(f"\nA line over {AXES[what][0]}: R² {fits[0]:.3f} (time), {fits[1]:.3f} (memory)\n")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="r18", help="as in training_step.py")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--output", default="docs/benchmarks")
    args = parser.parse_args()
    series = {}
    for what, values in GROWS.items():
        series[what] = []
        for value in values:
            seconds, mib = measure({**BASE, what: value}, args)
            series[what].append({"value": value, "seconds": round(seconds, 3), "mib": mib})
            print(what, series[what][-1], flush=True)
    facts, output = about("paddlepaddle", "paddlepaddle-gpu"), Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / "growth.json").write_text(json.dumps({"machine": facts, "base": BASE, "series": series}, indent=1) + "\n")
    (output / "growth.md").write_text(page(facts, args, series))
    draw(output / "growth.png", series)


if __name__ == "__main__":
    main()
