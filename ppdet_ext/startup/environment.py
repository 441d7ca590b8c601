# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What must be set before Paddle loads: CPU threads, the math library's instruction set, how memory is kept.

Stands alone (standard library only), so that deployment can use it without the rest of the package.
A value the user has set is never changed.
"""
from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import platform
import sys
from collections.abc import Iterator

# glibc's names for what mallopt sets
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4


@contextlib.contextmanager
def logging_at(level: int, *names: str) -> Iterator[None]:
    """Inside, these loggers say nothing below ``level``."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(level)
        yield
    finally:
        for logger, before in zip(loggers, levels):
            logger.setLevel(before)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def defaults() -> dict[str, str]:
    """The variables that make Paddle fast on this machine, name to value."""
    neighbours = int(os.environ.get("PADDLE_LOCAL_SIZE", 1))  # processes that paddle.distributed.launch started here
    chosen = {"OMP_NUM_THREADS": str(max(cores() // neighbours, 1))}
    if "AMD" in cpu_name():
        # the MKL inside Paddle's CPU wheel takes its slowest path on AMD processors unless told which one to take
        chosen["MKL_DEBUG_CPU_TYPE"] = "5"
    return chosen


def cpu_name() -> str:
    """What the processor says of its maker."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line for line in file if line.startswith(("vendor_id", "model name"))), "")
    except OSError:
        return platform.processor()


def cpu_model() -> str:
    """The processor's name, such as 'AMD EPYC'; the kind of machine where the system does not tell it."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def setup() -> dict[str, str]:
    """Set the variables that the user has not set. Returns those it set, as {name: value}.

    Has no effect on a Paddle that is already loaded: call it first (ppdet_ext.setup does).
    """
    if _threads_by_paddle():
        del os.environ["OMP_NUM_THREADS"]
    chosen = {name: value for name, value in defaults().items() if name not in os.environ}
    os.environ.update(chosen)
    if keeps_freed_memory():
        _keep_freed_memory()
    return chosen


def _threads_by_paddle():
    """Whether OMP_NUM_THREADS=1 is Paddle's, not the user's: importing it sets that, here or in its launcher.

    The environment as it was at that process's start tells; where it cannot be read the value counts as the user's.
    """
    if "PADDLE_LOCAL_SIZE" in os.environ:  # paddle.distributed.launch started this process
        importer = os.getppid()
    elif "paddle" in sys.modules:
        importer = os.getpid()
    else:
        return False
    if os.environ.get("OMP_NUM_THREADS") != "1":
        return False
    try:
        with open(f"/proc/{importer}/environ", "rb") as file:
            return not any(entry.startswith(b"OMP_NUM_THREADS=") for entry in file.read().split(b"\0"))
    except OSError:
        return False


def keeps_freed_memory() -> bool:
    """Whether ``setup`` lets freed memory stay with the process: where glibc can, and no MALLOC_ variable is set."""
    return not any(name.startswith("MALLOC_") for name in os.environ) and _glibc() is not None


def _keep_freed_memory():
    """Let glibc keep freed blocks instead of giving them back to the system.

    Paddle frees and allocates tens of megabytes for every operation on a CPU, and each fresh page costs a fault:
    deformable attention, forward and backward, took 350 ms with and 215 ms without them. Setting any MALLOC_ variable
    turns this off.
    """
    libc = _glibc()
    if libc:
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 64 * 2**20)


@contextlib.contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Inside, large blocks do not come from the heap, so that they leave no holes in it when they are freed.

    For what is done once: small things that stay, made meanwhile, then lie close together.
    """
    libc = _glibc() if keeps_freed_memory() else None
    if libc:
        libc.mallopt(M_MMAP_THRESHOLD, 2**18)
        libc.mallopt(M_MMAP_MAX, 2**16)
    try:
        yield
    finally:
        if libc:
            libc.mallopt(M_MMAP_MAX, 0)


def give_back_freed_memory() -> None:
    """Give what is free now back to the system, once; what is freed later is kept as before.

    A first training step leaves small things that stay (optimizer states, compiled operations) all over the heap. The
    next step's large blocks do not fit between them, and the holes would count for ever: 3,370 MiB instead of 3,040 for
    R18 at 640x640, batch 4.
    """
    libc = _glibc()
    if libc:
        libc.malloc_trim(0)


def _glibc():
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
    except OSError:
        return None
