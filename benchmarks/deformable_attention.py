#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Multi-scale deformable attention, forward and backward: grid_sample against row lookup (what training uses)."""
import argparse

from side_by_side import compare, table

import ppdet_ext  # noqa: F401  before Paddle: sets threads and instruction set

import paddle  # isort: skip
from ppdet_ext.detector.attention import sample_by_grid, sample_by_lookup  # isort: skip


def case(batch, queries, heads=8, channels=32, points=4, shapes=((40, 40), (20, 20), (10, 10))):
    """A function of the sampling core: one forward and backward pass on random inputs, as at 320x320."""
    paddle.seed(0)
    value = paddle.randn([batch, sum(h * w for h, w in shapes), heads, channels])
    levels = [points] * len(shapes)
    locations = paddle.rand([batch, queries, heads, sum(levels), 2])
    weights = paddle.rand([batch, queries, heads, sum(levels)])
    for tensor in (value, locations, weights):
        tensor.stop_gradient = False

    def step(core):
        core(value, list(shapes), locations, weights, levels).sum().backward()
        for tensor in (value, locations, weights):
            tensor.clear_gradient()

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--queries", type=int, default=500)
    args = parser.parse_args()
    step = case(args.batch, args.queries)
    print(table(compare({"grid_sample": lambda: step(sample_by_grid), "row lookup": lambda: step(sample_by_lookup)})))


if __name__ == "__main__":
    main()
