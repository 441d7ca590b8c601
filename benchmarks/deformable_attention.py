#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Multi-scale deformable attention, forward and backward: grid_sample against row lookup (what training uses)."""
import argparse

from side_by_side import compare, table

import ppdet_ext

ppdet_ext.setup()

import paddle

from ppdet_ext import kernels
from ppdet_ext.detector.attention import sample_by_grid
from ppdet_ext.detector.flat_attention import sample_flat


def cases(batch, queries, heads=8, channels=32, points=4, shapes=((40, 40), (20, 20), (10, 10))):
    """{name: one forward and backward pass on random inputs, as at 320x320}."""
    paddle.seed(0)
    shapes, levels = list(shapes), [points] * len(shapes)
    total = sum(levels)
    value = paddle.randn([batch, sum(h * w for h, w in shapes), heads * channels])
    offsets, boxes = paddle.randn([batch, queries, heads * total * 2]), paddle.rand([batch, queries, 1, 4])
    weights = paddle.rand([batch, queries, heads, total])
    for tensor in (value, offsets, weights):
        tensor.stop_gradient = False

    def by_grid():
        centre, size = boxes[..., :2].unsqueeze(3), boxes[..., 2:].unsqueeze(3)
        locations = centre + offsets.reshape([batch, queries, heads, total, 2]) * (size * 0.5 / points)
        return sample_by_grid(value.reshape([batch, -1, heads, channels]), shapes, locations, weights, levels)

    def step(sample):
        sample().sum().backward()
        for tensor in (value, offsets, weights):
            tensor.clear_gradient()

    return {"grid_sample": lambda: step(by_grid), "row lookup": lambda: step(
        lambda: sample_flat(value, shapes, offsets, boxes, weights, levels, paddle.full([total], 0.5 / points)))}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--queries", type=int, default=500)
    args = parser.parse_args()
    with kernels.enabled():
        print(table(compare(cases(args.batch, args.queries))))


if __name__ == "__main__":
    main()
