# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""How much memory this process may have: RAM within the limits of its cgroups, or its GPU's."""
from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paddle
from paddle.base import core

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class MemoryThere:
    """In bytes.

    Attributes:
        kind: 'RAM' or 'GPU memory'.
        total: of the machine, of the GPU, or of the cgroup where that is less.
        held: what this process has already; on a GPU Paddle's reserve.
        free: what nobody has.
        group: whether a cgroup is the limit.
    """

    kind: str
    total: int
    held: int
    free: int
    group: bool = False

    @property
    def most(self) -> int:
        """What this process can come to hold."""
        return self.held + self.free


@dataclass(frozen=True)
class _Version:
    """The files of a version of cgroups; ``cache``: entries of memory.stat that the kernel takes back when needed."""

    limit: str
    used: str
    cache: tuple[str, ...]


_V1 = _Version("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
_V2 = _Version("memory.max", "memory.current", ("inactive_file", "active_file"))


def ram() -> MemoryThere:
    """RAM: the machine's, or where a cgroup (a container, a job) has less left, that.

    Processes of one run on one machine (paddle.distributed.launch) share what is free evenly.
    """
    import psutil

    machine, held = psutil.virtual_memory(), psutil.Process().memory_info().rss
    total, free, group = machine.total, machine.available, False
    for limit, left in _groups():
        if limit < machine.total and left < free:
            total, free, group = limit, max(left, 0), True
    return MemoryThere("RAM", total, held, free // max(int(os.environ.get("PADDLE_LOCAL_SIZE", 1)), 1), group)


def resident_peak() -> int:
    """The most RAM that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def gpu() -> MemoryThere:
    """The memory of the GPU that Paddle runs on."""
    total = paddle.device.cuda.get_device_properties().total_memory
    return MemoryThere("GPU memory", total, paddle.device.cuda.memory_reserved(),
                       core.gpu_memory_available())  # type: ignore[attr-defined]  # Paddle's builds for GPUs have it


def _groups() -> Iterator[tuple[int, int]]:
    """(limit, what is left) of this process's cgroup and of those above it, where they have a limit."""
    if sys.platform != "linux":
        return
    for version, folder in _folders():
        for place in (folder, *folder.parents):
            found = _read_group(version, place)
            if found:
                yield found
            if place == CGROUPS:
                break


def _folders():
    """In a container the group's path is often the host's: then the folder at the top is the container's own."""
    try:
        lines = [line.split(":", 2) for line in OWN_GROUPS.read_text().splitlines()]
    except OSError:
        return
    for number, controllers, path in lines:
        if number == "0":
            version, top = _V2, CGROUPS
        elif "memory" in controllers.split(","):
            version, top = _V1, CGROUPS / "memory"
        else:
            continue
        folder = top / path.lstrip("/")
        yield version, folder if folder.is_dir() else top


def _read_group(version, folder):
    try:
        limit, used = ((folder / name).read_text().strip() for name in (version.limit, version.used))
        lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        cache = sum(int(value) for name, value in lines if name in version.cache)
        return None if limit == "max" else (int(limit), int(limit) - int(used) + cache)
    except (OSError, ValueError):
        return None
