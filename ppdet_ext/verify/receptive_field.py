# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""How much of the image a cell of a feature map sees: from the gradient of a centre cell to the image.

The theoretical field is what has any gradient at all. The effective field is the part that has most of it: Luo et al.
2016, https://arxiv.org/abs/1701.04128, count the pixels above 1 - 0.9545 of the greatest gradient.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle

from ..nn.window import map_size

SHARE = 1 - 0.9545


class ReceptiveField(NamedTuple):
    """Pixels of the image.

    Attributes:
        theoretical: (height, width) of what the centre cell depends on.
        whole: whether that reaches two opposite borders, so that a larger image may show more.
        effective: side of a square as large as the part with most of the gradient.
        energy: float32 [H, W], the gradient's size.
    """

    theoretical: tuple[int, int]
    whole: bool
    effective: float
    energy: np.ndarray


def of_feature(feature: paddle.Tensor, image: paddle.Tensor) -> ReceptiveField:
    """The field of the centre cell of ``feature`` [1, C, h, w], computed from ``image`` [1, 3, H, W].

    The channels are summed with random factors: a normalisation over channels makes their plain sum a constant. The
    graph stays for further gradients.
    """
    height, width = map_size(feature, (2, 3))
    factors = np.random.RandomState(0).standard_normal(feature.shape[1]).astype("float32")
    cell = (feature[0, :, height // 2, width // 2] * paddle.to_tensor(factors)).sum()
    gradient = paddle.grad(cell, image, retain_graph=True, allow_unused=True)[0]
    if gradient is None:
        return ReceptiveField((0, 0), False, 0.0, np.zeros(image.shape[2:], np.float32))
    return measured(np.abs(gradient.numpy()).sum(axis=(0, 1)))


def measured(energy: np.ndarray) -> ReceptiveField:
    """The fields of the gradients' sizes [H, W]."""
    spans = []
    for axis in (1, 0):
        there = np.flatnonzero((energy > 0).any(axis=axis))
        spans.append((int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0))
    whole = all(span == (0, side) for span, side in zip(spans, energy.shape))
    effective = float((energy > SHARE * energy.max()).sum()) ** 0.5 if energy.max() > 0 else 0.0
    rows, columns = (stop - start for start, stop in spans)
    return ReceptiveField((rows, columns), whole, effective, energy)
