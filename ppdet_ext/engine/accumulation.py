# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Gradient accumulation: ``accumulate_steps`` batches count as one large batch."""
from __future__ import annotations

from dataclasses import dataclass

from ..errors import UserError


@dataclass(frozen=True)
class GradientAccumulation:
    """Groups the batches of an epoch; its last group may be smaller.

    The optimizer steps once a group. Schedule, warm-up and average of weights count these steps, as they would with the
    larger batch.

    Args:
        batches: batches of an epoch.
        every: batches of a group (``accumulate_steps``).
    Raises:
        UserError: ``every`` is no whole number above 0.
    """

    batches: int
    every: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise UserError(f"accumulate_steps is {self.every!r}; it takes the number of batches that count as one, "
                            "from 1")

    @property
    def steps_per_epoch(self) -> int:
        """The optimizer's steps of an epoch."""
        return -(-self.batches // self.every)

    def group_size(self, step: int) -> int:
        """Number of batches in the group of batch ``step`` (from 0) of an epoch; its gradient counts 1/size."""
        first = step - step % self.every
        return min(self.every, self.batches - first)

    def ends_group(self, step: int) -> bool:
        """Whether the optimizer steps after batch ``step``."""
        return (step + 1) % self.every == 0 or step + 1 == self.batches
