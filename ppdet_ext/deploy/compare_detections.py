# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""How much two sets of detections of one picture differ: same model, other runtime, same answer?"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Difference:
    """max|d|/max|ref| of scores and of boxes; ``unmatched``: detections without a partner of their class."""

    score: float
    box: float
    unmatched: int

    def __str__(self) -> str:
        return f"scores {self.score:.2e}, boxes {self.box:.2e}, {self.unmatched} without partner (max|d|/max|ref|)"

    def within(self, tolerance: float) -> bool:
        """True when every detection has a partner and both figures are at most ``tolerance``."""
        return self.unmatched == 0 and max(self.score, self.box) <= tolerance

    def worst(self, other: Difference) -> Difference:
        """The larger of two, figure by figure."""
        return Difference(max(self.score, other.score), max(self.box, other.box), self.unmatched + other.unmatched)


def compare(reference: np.ndarray, other: np.ndarray, tolerance: float = 1e-3) -> Difference:
    """Compare boxes [N, 6] and [M, 6] (class, score, x1, y1, x2, y2) of one picture.

    The order does not count (equal scores may swap), nor do detections at the cut: those whose score lies within
    ``tolerance`` of the lowest one, because rounding alone decides which of them are among the best N.
    """
    reference, other = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    if not (np.isfinite(reference).all() and np.isfinite(other).all()):
        # no distance to what is not a number; comparing would find nothing wrong
        return Difference(np.inf, np.inf, max(len(reference), len(other)))
    if len(reference) == 0 or len(other) == 0:
        return Difference(0.0, 0.0, max(len(reference), len(other)))
    top_score = np.abs(reference[:, 1]).max() or 1.0
    top_box = np.abs(reference[:, 2:]).max() or 1.0
    distance = _distances(reference, other)
    pairs = _pair_up(distance)
    cut = max(reference[:, 1].min(), other[:, 1].min()) + tolerance * top_score
    left_over = (_missing(reference, [row for row, _ in pairs], cut) + _missing(other, [col for _, col in pairs], cut))
    pairs = [(row, col) for row, col in pairs if reference[row, 1] > cut or distance[row, col] <= tolerance]
    if not pairs:
        return Difference(0.0, 0.0, left_over)
    rows, columns = np.array(pairs).T
    delta = np.abs(reference[rows] - other[columns])
    return Difference(delta[:, 1].max() / top_score, delta[:, 2:].max() / top_box, left_over)


def compare_all(reference: Sequence[np.ndarray], other: Sequence[np.ndarray], tolerance: float = 1e-3) -> Difference:
    """The worst ``compare`` over two lists of boxes, one entry per picture."""
    if len(reference) != len(other):
        raise ValueError(f"detections of {len(reference)} pictures against {len(other)}")
    worst = Difference(0.0, 0.0, 0)
    for one, two in zip(reference, other):
        worst = worst.worst(compare(one, two, tolerance))
    return worst


def agreeing(reference: np.ndarray, other: np.ndarray, tolerance: float = 1e-3) -> float:
    """Share of the reference's boxes [N, 6] that have one of their class in ``other`` [M, 6] within ``tolerance``."""
    reference, other = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    if len(reference) == 0 or len(other) == 0:
        return float(len(reference) == len(other))
    distance = _distances(reference, other)
    # what is not a number is within nothing
    return float((np.where(np.isfinite(distance), distance, np.inf).min(1) <= tolerance).mean())


def _distances(reference, other):
    """[N, M]: the larger of the gaps of scores and of boxes, as shares of the largest; infinite between classes."""
    top_score = np.abs(reference[:, 1]).max() or 1.0
    top_box = np.abs(reference[:, 2:]).max() or 1.0
    distance = np.maximum(np.abs(reference[:, None, 1] - other[None, :, 1]) / top_score,
                          np.abs(reference[:, None, 2:] - other[None, :, 2:]).max(-1) / top_box)
    distance[reference[:, None, 0] != other[None, :, 0]] = np.inf
    return distance


def _pair_up(distance):
    """Nearest pairs first, each row and column once."""
    pairs, rows, columns = [], set(), set()
    for flat in np.argsort(distance, axis=None, kind="stable"):
        row, column = np.unravel_index(flat, distance.shape)
        if not np.isfinite(distance[row, column]) or len(rows) == min(distance.shape):
            break
        if row not in rows and column not in columns:
            pairs.append((row, column))
            rows.add(row)
            columns.add(column)
    return pairs


def _missing(boxes, matched, cut):
    left = np.setdiff1d(np.arange(len(boxes)), matched)
    return int((boxes[left, 1] > cut).sum())
