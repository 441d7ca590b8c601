# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Seconds that training steps spend in forward, backward and optimizer."""
from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import paddle


class Phases:
    """Sums seconds by name while ``counting``.

    On a GPU operations only queue up, so each part waits there for the device before and after. Who counts there does
    it for few steps.
    """

    def __init__(self) -> None:
        self.counting = False
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Around a part of a step."""
        if not self.counting:
            yield
            return
        wait_for_device()
        start = time.perf_counter()
        yield
        wait_for_device()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def works_later() -> bool:
    """Whether operations of the current device only queue up when they are called."""
    return not paddle.get_device().startswith("cpu")


def wait_for_device() -> None:
    """Return once the device has done all that was queued up."""
    if works_later():
        paddle.device.synchronize()
