# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Reader workers: forked while no other reader is at work, ended before Python, and missed when they die.

Paddle 3.3.1: threads that take a reader's batches from its workers lock Paddle's memory statistics now and then, also
when they end. A worker that is forked while someone holds that lock has it for ever: it hangs, and the training with it
(see docs/startup_and_loading.md). ppdet makes the workers of the next epoch when one is over, and its threads are at
work while an evaluation makes its own. Here a reader begins when its first batch is asked for (:class:`Later`), and the
thread of the one before is waited for, which Paddle leaves for up to five seconds.

A run that breaks off leaves workers that read ahead. Python stops them at its end, and Paddle, which is not told, warns
of workers that "exit unexpectedly".
"""
from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import re
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np

from ..startup import environment
from . import random_state

# what Paddle says, in a SystemError, when a worker has died
_DIED = re.compile(r"DataLoader process \(pid\s+\d+\) exited (?:is killed by signal: (?P<signal>[\w ]+)|"
                   r"unexpectedly with code (?P<code>-?\d+))|Blocking queue is killed")
_REMEDIES = {
    "Killed": "the memory was full, most likely; take fewer pictures at a time: -o worker_num=1 "
              "TrainReader.batch_size=1",
    "Bus error": "shared memory is full, most likely; do without it: -o TrainReader.use_shared_memory=false",
}
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
_living: weakref.WeakSet[Any] = weakref.WeakSet()

_excused = False
# seconds between the thread's looks at whether all is over
INTERVAL = 0.1


def look_often(interval: float) -> float:
    """For Paddle's ``MP_STATUS_CHECK_INTERVAL``: at most INTERVAL seconds."""
    return min(INTERVAL, interval)


class Later:
    """An iterator of a DataLoader that reads nothing before its first batch is asked for.

    Random numbers are those that it would have drawn at once: what it draws does not depend on what is done meanwhile.

    Args:
        begin: makes Paddle's iterator.
        workers: their number; 0: the process itself reads.

    Attributes:
        random: the state of the random numbers that its epoch is drawn from; a checkpoint keeps it.
        batches: Paddle's iterator; None before the first batch.
    """

    def __init__(self, begin: Callable[[], Any], workers: int) -> None:
        self.begin, self.workers, self.random = begin, workers, random_state.of_reader()
        self.batches: Any = None
        if workers:  # the number from which they begin; whoever draws next gets the one after it
            np.random.randint(0, sys.maxsize)

    def __iter__(self) -> Later:
        return self

    def __next__(self) -> Any:
        if self.batches is None:
            with random_state.kept() if self.workers else contextlib.nullcontext():
                random_state.restore_reader(self.random)
                self.batches = self.begin()
        return next(self.batches)


def reads_later(loader: type) -> type:
    """For ppdet's ``DataLoader``: its iterators are :class:`Later`."""
    class ReadsLater(loader):  # type: ignore[misc]
        def __iter__(self):
            return Later(super().__iter__, self.num_workers)
    return ReadsLater


def wait_for_the_end(batches: Any) -> None:
    """Wait for the thread of an exhausted or stopped iterator of a DataLoader; a matter of INTERVAL."""
    if isinstance(batches, Later):
        batches = batches.batches
    thread = getattr(batches, "_thread", None)
    if thread is not None and getattr(batches, "_thread_done_event", None) is not None:
        batches._thread_done_event.set()
        thread.join(timeout=10)


def stop(batches: Any) -> None:
    """End an iterator of a DataLoader that is not exhausted, with its workers: nothing reads after it."""
    if isinstance(batches, Later):
        batches.batches, batches = iter(()), batches.batches
    event, queue = getattr(batches, "_thread_done_event", None), getattr(batches, "_blocking_queue", None)
    if event is not None and queue is not None and not getattr(batches, "_num_workers", 0):
        event.set()
        queue.close()
        batches._thread.join(timeout=10)
    if hasattr(batches, "_try_shutdown_all"):
        batches._try_shutdown_all()
        wait_for_the_end(batches)


def remember(init_workers: Callable) -> Callable:
    """For ``_DataLoaderIterMultiProcess._init_workers``: these workers end before Python does.

    They begin with a copy of this process's memory, and hold it for an epoch while this process writes anew: what an
    epoch's activations have left free in it goes back to the system first.
    """
    @functools.wraps(init_workers)
    def remembered(self):
        environment.give_back_freed_memory()
        self._worker_init_fn = _ending_with_this_process(self._worker_init_fn)
        with _held_back(signal.SIGINT):
            init_workers(self)
        if _excused:
            excuse_deaths()  # Paddle has just set its own handler
        atexit.unregister(end_all)  # registered last, it runs before what Python itself does about workers
        atexit.register(end_all)
        _living.add(self)
    return remembered


def _ending_with_this_process(begin: Callable | None) -> Callable | None:
    """``begin`` of a worker, which also asks Linux to end it when this process is killed.

    Else it waits for ever: Paddle's look at whether its parent lives is never reached (``Queue.get(5)`` blocks without
    a limit). Linux ends it with the thread that has forked it, so threads that may end before their reader do without.
    """
    if not sys.platform.startswith("linux") or threading.current_thread() is not threading.main_thread():
        return begin
    parent = os.getpid()

    def begun(worker):
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it was killed before
            os._exit(1)
        if begin is not None:
            begin(worker)
    return begun


def excuse_deaths(excused: bool = True) -> None:
    """From here on a worker's death is no error in the midst of whatever the main process does.

    Paddle raises one from a handler of SIGCHLD. Whoever asks a run to end may end its workers, too, as Paddle's
    launcher does. Reading still tells.
    """
    global _excused
    _excused = excused
    if excused and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, _leave_it)


def _leave_it(number: int, frame: FrameType | None) -> None:
    """In place of Paddle's handler."""


@contextlib.contextmanager
def _held_back(number: int) -> Iterator[None]:
    """Inside, a signal waits; in what is forked here it waits for ever.

    A terminal sends Ctrl-C to all processes. Workers go on: the main process may need them for the step that it ends
    with, and it ends them.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where nothing is forked
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_all() -> None:
    """End the workers of all iterators of this process; one that does not answer within a second is left to Python."""
    for batches in list(_living):
        _living.discard(batches)
        batches._shutdown_on_exit()


def why_died(error: BaseException) -> str:
    """One line about the worker whose death Paddle reports by ``error``; empty where it is about something else."""
    found = _DIED.search(str(error)) if isinstance(error, SystemError) else None
    if not found:
        return ""
    how = f" ({found['signal']})" if found["signal"] else f" (exit code {found['code']})" if found["code"] else ""
    remedy = _REMEDIES.get(found["signal"], "-o worker_num=0 reads in the main process, where the error is shown")
    return f"a process that reads data ended too early{how}: {remedy}"
