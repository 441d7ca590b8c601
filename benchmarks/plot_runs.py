#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Draw the AP50 of several training runs beside each other: plot_runs.py OUT.png NAME=curves.json ..."""
import json
import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def main():
    out, *runs = sys.argv[1:]
    figure = Figure(figsize=(7, 4), layout="tight")
    axes = figure.subplots()
    for run in runs:
        name, _, path = run.partition("=")
        rows = json.loads(Path(path).read_text())
        points = [(row["epoch"] + 1, row["ap"]["AP50"]) for row in rows if row.get("ap")]
        axes.plot(*zip(*points), marker=".", label=name)
    axes.set(xlabel="epoch", ylabel="AP50 on the validation split", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend()
    FigureCanvasAgg(figure).print_png(out)


if __name__ == "__main__":
    main()
