# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From what one image takes to what a run takes, and to the batch that fits."""
from __future__ import annotations

from dataclasses import dataclass

from ..startup import environment
from .memory_profile import ImageMemory
from .memory_there import MemoryThere

MIB = 2 ** 20
# numbers that an optimizer keeps for each weight
STATES = {"SGD": 0, "Momentum": 1, "Adagrad": 1, "Adamax": 2, "Adadelta": 2, "RMSProp": 3, "AdamW": 2, "Adam": 2,
          "Lamb": 2}
# RAM for a byte of activations after a few steps: a heap has holes between blocks of many sizes, and oneDNN has tensors
# of its own (measured 1.6 to 2.2 on six networks). More where freed memory is kept, see startup.environment
HOLES, HOLES_KEPT = 1.6, 1.8
COMPILED = 80 * MIB  # what a first step brings besides: code that oneDNN makes, and buffers of its threads
# of what is there: the estimate is within 15 % of what is measured
SPARE = 0.15
READER = 100 * MIB  # what a process that reads data has for itself, beside pictures
AHEAD = 2  # batches that a reader's process makes before they are asked for (Paddle's prefetch_factor)
COPIES = 3  # of its pictures that it has meanwhile
BATCHES = (1, 2, 4, *range(8, 65, 8))  # what ``batch_size: auto`` takes: the largest of these that fits


@dataclass(frozen=True)
class RunMemory:
    """What of a training run decides its memory.

    Attributes:
        profile: of one image.
        optimizer: Paddle's name of its class.
        average: whether there is an average of weights (use_ema).
        accumulates: gradients of several batches are added up.
        masters: weights are of half precision, with float32 masters.
        evaluation: bytes that an evaluation's batch takes; 0 where there is none.
        workers: processes that read data.
        process: bytes of RAM that the process has without tensors.
        on_gpu: tensors are in a GPU's memory.
        pictures: bytes of RAM that readers' memory_cache holds.
    """

    profile: ImageMemory
    optimizer: str
    average: bool = False
    accumulates: bool = False
    masters: bool = False
    evaluation: int = 0
    workers: int = 0
    process: int = 0
    on_gpu: bool = False
    pictures: int = 0

    def parts(self, images: int) -> dict[str, int]:
        """{what: bytes} at the peak of a step with this many images, where the tensors are; their sum is the peak."""
        found = {"weights": self.profile.weights, "optimizer": self._optimizer(), "average (EMA)": self._averaged(),
                 "activations and gradients": self._step(images)}
        if not self.on_gpu:
            found.update({"process": self.process + COMPILED, "readers": self.readers(images),
                          "memory_cache": self.pictures})
        return {name: size for name, size in found.items() if size}

    def _optimizer(self):
        return (STATES.get(self.optimizer, 2) + self.masters) * self.profile.trained

    def _averaged(self):
        return (1 + self.masters) * self.profile.weights if self.average else 0

    def _step(self, images):
        holes = 1.0 if self.on_gpu else HOLES_KEPT if environment.keeps_freed_memory() else HOLES
        # while the average is evaluated, the weights themselves wait in a copy, and the average is made in another
        evaluation = self.evaluation + (2 * self.profile.weights if self.average else 0) if self.evaluation else 0
        return int(holes * max(self.profile.peak(images, self.accumulates), evaluation))

    def readers(self, images: int) -> int:
        """Bytes of RAM for the processes that read data, and for what they have read ahead.

        On a CPU they hold weights, optimizer and average as these were when they were started, all the same copy.
        """
        batch = 3 * 4 * images * self.profile.height * self.profile.width
        copied = 0 if self.on_gpu or not self.workers else self.profile.weights + self._optimizer() + self._averaged()
        return self.workers * (READER + (AHEAD + COPIES) * batch) + copied

    def peak(self, images: int) -> int:
        """Bytes at the peak."""
        return sum(self.parts(images).values())

    def largest(self, there: MemoryThere, images: int = BATCHES[-1]) -> int:
        """The largest of BATCHES, up to ``images``, that fits with something to spare; 0 where one image does not."""
        room = (1 - SPARE) * there.most
        return max((batch for batch in BATCHES if batch <= images and self.peak(batch) <= room), default=0)


def size(count: float) -> str:
    """Bytes in words: '850 MiB', '3.4 GiB'."""
    return f"{count / MIB:.0f} MiB" if count < 1000 * MIB else f"{count / MIB / 1024:.1f} GiB"
