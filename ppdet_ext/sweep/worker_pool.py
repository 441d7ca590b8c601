# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Worker processes that measure one name after another, so that none can end, stop or fill up the sweep.

Each worker is an executor of one process: a network that dies, hangs or grows costs that process and nothing else.
"""
from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..startup import environment
from . import sweep_worker

GIB = 2**30
RECYCLE = 50  # names after which a worker is replaced: libraries keep what they have compiled and allocated
START_LIMIT = 300  # seconds for the imports
POLL = 0.2  # seconds between two looks at a worker's memory


def share_of_memory(jobs: int) -> float:
    """GiB that each of ``jobs`` workers may take: together nine tenths of the machine's memory."""
    return 0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB / jobs


def resident(pid: int | None) -> float:
    """GiB of memory that a process occupies; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / GIB
    except (OSError, IndexError):
        return 0.0


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Args:
        measure: 'package.module:function', called in the workers with a name and ``settings``.
        settings: its keyword arguments (plain data).
        jobs: workers at a time; they share the cores among them.
        time_limit: seconds for a name.
        memory: GiB for a worker: beyond it a name is given up; beyond half of it the next name gets a new worker.
        describe: name -> the values of a row that are known without a worker (family, library).
    """

    measure: str = "ppdet_ext.sweep.measure:measure"
    settings: dict = field(default_factory=dict)
    jobs: int = 1
    time_limit: float = 300.0
    memory: float = 8.0
    describe: Callable[[str], dict] = lambda name: {}


class Lost(Exception):
    """A worker was given up; the message is the reason. ``final``: a second try would not change it."""

    def __init__(self, reason: str, final: bool = False):
        super().__init__(reason)
        self.final = final


class Worker:
    """One process. ``done`` counts the names it has measured; ``future`` becomes the row of the name it has now."""

    def __init__(self, plan: Plan):
        self.plan, self.done = plan, 0
        self.future: Future = Future()
        handle, name = tempfile.mkstemp(prefix="sweep.", suffix=".log")
        self._log, others = Path(name), set(multiprocessing.active_children())
        self._executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with _inherited(handle, OMP_NUM_THREADS=str(max(1, environment.cores() // plan.jobs))):
            self._starting = self._executor.submit(sweep_worker.start, plan.measure)
        os.close(handle)
        self._process, = set(multiprocessing.active_children()) - others
        self._started, self._since = False, time.monotonic()

    def ask(self, name: str, **settings: Any) -> None:
        """Begin to measure a name; ``settings`` beside the plan's."""
        self._since = time.monotonic()
        try:
            self.future = self._executor.submit(sweep_worker.row, self.plan.measure, name,
                                                {**self.plan.settings, **settings})
        except BrokenProcessPool as error:  # it died meanwhile
            self.future = Future()
            self.future.set_exception(error)

    def look(self) -> dict | None:
        """The row of the name; None as long as it is not there.

        Raises:
            Lost: the worker died, or went beyond its limits.
            UserError: it does not start.
        """
        if self._started:
            row = self._result(self.future, self.plan.time_limit)
            self.done += row is not None
            return row
        try:
            self._started = bool(self._result(self._starting, START_LIMIT))
        except Exception as error:  # Lost, or what an import raised
            raise UserError(f"a worker of the sweep does not start ({error}); to see why: {sys.executable} -c "
                            f"'import {self.plan.measure.partition(':')[0]}'") from None
        self._since = time.monotonic()
        return None

    def worn(self) -> bool:
        """Whether the next name should get a new worker."""
        return self.done >= RECYCLE or resident(self._process.pid) > self.plan.memory / 2

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._executor.shutdown()
        self._log.unlink()

    def _result(self, future, limit):
        if future.done():
            try:
                return future.result()
            except BrokenProcessPool:
                raise Lost(self._last_words()) from None
        if time.monotonic() - self._since > limit:
            raise Lost(f"takes more than {limit:g} s", final=True)
        if resident(self._process.pid) > self.plan.memory:
            raise Lost(f"needs more than {self.plan.memory:.3g} GiB of memory")
        return None

    def _last_words(self):
        """How it ended, and the last line it wrote; not those in brackets, Paddle's notes on a crash."""
        self._executor.shutdown()  # waits until the process is gone
        code = self._process.exitcode
        lines = [line.strip() for line in self._log.read_bytes()[-4096:].decode("utf-8", "replace").split("\n")]
        last = next((line for line in reversed(lines) if line and line[0] != "["), "no message")
        return f"the process died with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}: {last[:200]}"


class Job:
    """Turns one name after another into rows, each new worker taking the place of one that is worn or lost.

    ``name`` is the one that is being measured, empty between two.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.name = ""
        self.worker: Any = None

    def begin(self, name: str) -> None:
        """Measure a name."""
        self.name, self._began = name, time.monotonic()
        if self.worker and self.worker.worn():
            self.close()
        self._ask()

    def look(self) -> dict | None:
        """The row of the name, one of status 'failed' where its worker is lost; None as long as it is not there.

        Raises:
            UserError: a worker does not start.
        """
        try:
            row = self.worker.look()
        except Lost as error:
            used = self.worker.done > 0
            self.close()
            # what killed a used worker may be left from the names before: a new one decides
            if used and not error.final:
                self._ask()
                return None
            row = {"status": "failed", "reason": str(error), "seconds": round(time.monotonic() - self._began, 2)}
        if row is not None:
            row = {"name": self.name, **self.plan.describe(self.name), **row}
            self.name = ""
        return row

    def close(self) -> None:
        """End the worker, if there is one."""
        if self.worker:
            self.worker.close()
        self.worker = None

    def _ask(self):
        self.worker = self.worker or Worker(self.plan)
        self.worker.ask(self.name)


def measure_all(names: Sequence[str], plan: Plan) -> Generator[dict, None, None]:
    """Yield a row for each name, in the order in which they are done. Leaving the loop ends the workers.

    Raises:
        UserError: a worker does not start.
    """
    todo = deque(names)
    jobs = [Job(plan) for _ in range(min(plan.jobs, len(todo)))]
    with contextlib.ExitStack() as stack:
        for job in jobs:
            stack.callback(job.close)
        while todo or any(job.name for job in jobs):
            for job in jobs:
                if todo and not job.name:
                    job.begin(todo.popleft())
            busy = [job for job in jobs if job.name]
            wait([job.worker.future for job in busy], POLL, FIRST_COMPLETED)
            yield from filter(None, [job.look() for job in busy])


@contextlib.contextmanager
def _inherited(output, **variables):
    """What processes get that are started meanwhile: a descriptor for all they print, and environment variables.

    Set here, because a process prints and reads its variables while it imports, before any function of ours runs.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before, own = {name: os.environ.get(name) for name in variables}, [os.dup(1), os.dup(2)]
    try:
        os.environ.update(variables)
        os.dup2(output, 1)
        os.dup2(output, 2)
        yield
    finally:
        for place, descriptor in enumerate(own, 1):
            os.dup2(descriptor, place)
            os.close(descriptor)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
