# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An evaluation shared by the processes: its batches dealt out, its results put together as one process has them."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from paddle.io import BatchSampler
from ppdet.metrics import Metric

from . import processes


class Share(BatchSampler):
    """This process's part of an evaluation's batches: whole ones, each in one process, none added to fill up.

    Args:
        batches: a BatchSampler, or a list of batches.
    """

    def __init__(self, batches: BatchSampler | Sequence) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator:
        return (batch for number, batch in enumerate(self.batches)
                if number % processes.count() == processes.rank())

    def __len__(self) -> int:
        return len(range(processes.rank(), len(self.batches), processes.count()))


class DistributedMetric(Metric):
    """Metrics of all processes: each keeps what its batches gave. The main one feeds all of it to ``metrics``, in the
    order that one process has (of ``Share``).

    Args:
        metrics: ppdet's metrics; ``get_results`` is the first one's, on every process.
    Attributes:
        seen: this process's (inputs, outputs), one pair a batch, as NumPy arrays.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = metrics
        self.reset()

    def reset(self) -> None:
        """Forget what was seen and found."""
        self.seen: list[tuple[dict, dict]] = []
        self.results: dict = {}
        for metric in self.metrics:
            metric.reset()

    def update(self, inputs: dict, outputs: dict) -> None:
        """Keep a batch, but for its pictures."""
        inputs = {key: _as_numpy(value) for key, value in inputs.items() if key != "image"}
        self.seen.append((inputs, {key: _as_numpy(value) for key, value in outputs.items()}))

    def accumulate(self) -> None:
        """Compute the results of all processes' batches; all call."""
        parts = processes.all_gather(self.seen)
        if processes.is_main():
            self.score(parts)
        self.results = processes.all_gather(self.results)[0]

    def score(self, parts: Sequence[list[tuple[dict, dict]]]) -> None:
        """Compute the results of these batches, a list for each process."""
        for step in range(max(map(len, parts))):
            for part in parts:
                for metric in self.metrics if step < len(part) else ():
                    metric.update(*part[step])
        for metric in self.metrics:
            metric.accumulate()
        self.results = self.metrics[0].get_results() or {}

    def log(self) -> None:
        """Print the results; the main process does."""
        for metric in self.metrics if processes.is_main() else ():
            metric.log()

    def get_results(self) -> dict:
        """The first metric's results, the same on every process."""
        return self.results


def _as_numpy(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_as_numpy(item) for item in value]
    return np.asarray(value)
