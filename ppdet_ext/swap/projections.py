# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Least squares for a projection (1x1 convolution and BatchNorm): what of given features comes nearest to others."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn


def at_size_of(theirs: Sequence[paddle.Tensor], own: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
    """Maps [B, D, h, w] at the sizes of others [B, C, H, W], where strides differ: larger ones by their means."""
    return [one if one.shape[2:] == mine.shape[2:] else
            F.interpolate(one, mine.shape[2:], mode="area" if one.shape[2] > mine.shape[2] else "bilinear")
            for one, mine in zip(theirs, own)]


class Fit:
    """Sums over places of a feature map, from which a projection follows that needs no gradient step.

    In eval mode a projection is W x + b for each place. The sums are x, x x^T, t and t x^T, in float64.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sums: list[Any] = [0.0, 0.0, 0.0, 0.0, 0.0]

    @paddle.no_grad()
    def add(self, feature: paddle.Tensor, wanted: paddle.Tensor) -> None:
        """Take a batch: features [B, C, H, W], and what is wanted of them, [B, D, h, w]."""
        wanted = at_size_of([wanted], [feature])[0]
        x, t = (one.astype("float32").transpose([0, 2, 3, 1]).reshape([-1, one.shape[1]]) for one in (feature, wanted))
        self.count += x.shape[0]
        for number, value in enumerate((x.sum(0), t.sum(0), x.T @ x, t.T @ x, (t * t).sum(0))):
            self._sums[number] = self._sums[number] + value.numpy().astype("float64")

    def solve(self, ridge: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(W [D, C], mean of W x [D], variance of W x [D], mean of t [D]).

        Args:
            ridge: relative to the mean variance of x.
        """
        x, t, xx, tx, _ = (value / self.count for value in self._sums)
        covariance = xx - np.outer(x, x)
        damped = covariance + max(ridge * float(np.trace(covariance)) / len(x), 1e-12) * np.eye(len(x))
        weight = np.linalg.solve(damped, (tx - np.outer(t, x)).T).T
        return weight, weight @ x, np.einsum("dc,ce,de->d", weight, covariance, weight), t

    def write(self, projection: nn.Sequential, ridge: float) -> None:
        """Set a projection, Sequential(Conv2D 1x1 without bias, BatchNorm2D), to the solution.

        BatchNorm cancels the length of a row of W, but AdamW's steps are of one length: rows keep that of fresh ones.
        """
        convolution, norm = projection[0], projection[1]
        weight, mean, variance, target = self.solve(ridge)
        fresh = np.linalg.norm(convolution.weight.numpy()) / np.sqrt(len(weight))
        length = np.maximum(np.linalg.norm(weight, axis=1), 1e-12)
        factor = fresh / length
        deviation = np.sqrt(variance * factor ** 2 + norm._epsilon)
        for tensor, value in ((convolution.weight, weight * factor[:, None]), (norm._mean, mean * factor),
                              (norm._variance, variance * factor ** 2), (norm.weight, deviation / factor),
                              (norm.bias, target)):
            tensor.set_value(value.astype("float32").reshape(tensor.shape))
