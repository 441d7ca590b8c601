# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The catalogue's estimate of latency, fitted to the times of one image on a CPU that timm publishes.

python benchmarks/fit_latency.py pytorch-image-models/results/benchmark-infer-fp32-nchw-pt240-cpu-i9_10940x-dynamo.csv
"""
import argparse
import csv

import numpy as np
from scipy.optimize import least_squares, nnls

from ppdet_ext.choose import catalogue

KINDS = list(catalogue.MILLISECONDS)


def published(path):
    """{(name, side): milliseconds}."""
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {(row["model"].partition(".")[0], int(row["infer_img_size"])): float(row["infer_step_time"])
            for row in reversed(rows)}


def features(row):
    """What the estimate sums, of the whole network at its own size."""
    kept = row.kept_mb / 1000 * (row.own_side / row.side) ** 2
    return [*(row.own_gmacs * row.shares.get(kind, 0) for kind in KINDS), kept, row.parameters / 1000,
            row.operations / 1000, 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="timm's published times")
    times = published(parser.parse_args().file)
    rows = [row for row in catalogue.rows() if (row.name, row.own_side) in times and row.own_gmacs and row.kept_mb]
    values = np.array([features(row) for row in rows])
    wanted = np.array([times[row.name, row.own_side] for row in rows])
    start, _ = nnls(values / wanted[:, None], np.ones(len(rows)))
    found = np.exp(least_squares(lambda logs: np.log(values @ np.exp(logs)) - np.log(wanted),
                                 np.log(np.maximum(start, 1e-3)), loss="soft_l1").x)
    errors = np.exp(np.abs(np.log(values @ found / wanted)))
    names = [*KINDS, "GB kept", "10**9 parameters", "1000 operations", "start"]
    print({name: float(f"{value:.3g}") for name, value in zip(names, found)})
    print(f"{len(rows)} networks; half are off by less than {np.median(errors):.2f}x, "
          f"one in ten by more than {np.quantile(errors, 0.9):.2f}x")


if __name__ == "__main__":
    main()
