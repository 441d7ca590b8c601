# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The most memory that this process, or its GPU, has held at once."""
from __future__ import annotations

import contextlib
import re
from pathlib import Path

import paddle

from ..measure.memory_there import resident_peak

MB = 2**20


def restart_peak() -> None:
    """From here on the peak is a new one, where the system can forget the old one (Linux, GPUs)."""
    if paddle.get_device().startswith("gpu"):
        paddle.device.cuda.reset_max_memory_reserved()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """MB (2**20 bytes): of the GPU's memory on a GPU, else of the resident memory of the process."""
    if paddle.get_device().startswith("gpu"):
        return paddle.device.cuda.max_memory_reserved() / MB
    with contextlib.suppress(OSError, AttributeError):
        # unlike ru_maxrss it does not begin with what the parent had when it started this process
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found.group(1)) / 1024  # type: ignore[union-attr]  # or an AttributeError
    return resident_peak() / MB
