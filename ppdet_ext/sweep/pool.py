# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Worker processes that measure one name after another, so that none can end, stop or fill up the sweep."""
from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field

from ..errors import UserError
from .sweep_worker import READY

GIB = 2**30
RECYCLE = 50  # names after which a worker is replaced: libraries keep what they have compiled and allocated
START_LIMIT = 300  # seconds for the imports
POLL = 0.2  # seconds between two looks at a worker's memory


def cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_of_memory(jobs):
    """GiB that each of ``jobs`` workers may take: together nine tenths of the machine's memory."""
    return 0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB / jobs


def resident(pid):
    """GiB of memory that a process occupies; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / GIB
    except (OSError, IndexError):
        return 0.0


class Lost(Exception):
    """A worker that had to be given up; the message is the reason."""


class TooSlow(Lost):
    """It ran out of time, which a second try would not change."""


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
    describe: object = lambda name: {}

    def command(self):
        return [sys.executable, "-m", "ppdet_ext.sweep.sweep_worker", "--measure", self.measure,
                "--settings", json.dumps(self.settings)]

    def environment(self):
        return {**os.environ, "OMP_NUM_THREADS": str(max(1, cores() // self.jobs))}


class Worker:
    """One process. ``done`` counts the names it has measured."""

    def __init__(self, plan):
        self.plan, self.done, self._read = plan, 0, b""
        self._log = tempfile.TemporaryFile()
        # a session of its own: Ctrl-C reaches the sweep alone, which then ends its workers
        self._process = subprocess.Popen(plan.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=self._log, env=plan.environment(), start_new_session=True)

    def wait(self):
        """Wait until it has imported everything.

        Raises:
            UserError: it does not start.
        """
        try:
            while self._line(START_LIMIT) != READY:
                pass
        except Lost as error:
            raise UserError(f"a worker of the sweep does not start ({error}); to see why: "
                            f"{' '.join(self.plan.command()[:5])}") from None

    def ask(self, name):
        """The row of a name.

        Raises:
            Lost: the worker died, or went beyond its limits.
        """
        try:
            self._process.stdin.write(f"{name}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Lost(self._last_words()) from None
        row = json.loads(self._line(self.plan.time_limit))
        self.done += 1
        return row

    def worn(self):
        """Whether the next name should get a new worker."""
        return self.done >= RECYCLE or resident(self._process.pid) > self.plan.memory / 2

    def stop(self):
        self._process.kill()
        self._process.wait()

    def close(self):
        """Stop it and let go of its files."""
        self.stop()
        with contextlib.suppress(BrokenPipeError):  # a name that it has not read
            self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()

    def _line(self, limit):
        deadline = time.monotonic() + limit
        while b"\n" not in self._read:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TooSlow(f"takes more than {limit:g} s")
            if resident(self._process.pid) > self.plan.memory:
                raise Lost(f"needs more than {self.plan.memory:.3g} GiB of memory")
            if select.select([self._process.stdout], [], [], min(POLL, left))[0]:
                self._receive()
        line, _, self._read = self._read.partition(b"\n")
        return line.decode("utf-8", "replace")

    def _receive(self):
        piece = os.read(self._process.stdout.fileno(), 1 << 16)
        if not piece:
            raise Lost(self._last_words())
        self._read += piece

    def _last_words(self):
        """How it ended, and the last line it wrote; not those in brackets, Paddle's notes on a crash."""
        code = self._process.wait()
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 4096))
        lines = map(str.strip, self._log.read().decode("utf-8", "replace").split("\n"))
        last = next((line for line in reversed(list(lines)) if line and line[0] != "["), "no message")
        return f"the process died with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}: {last[:200]}"


class Pool:
    """Threads, each with a worker of its own, that turn the names in ``todo`` into rows in ``results``."""

    def __init__(self, plan, names):
        self.plan, self.results, self._todo = plan, queue.Queue(), queue.Queue()
        self._workers, self._stopped, self._lock = {}, False, threading.Lock()
        for name in names:
            self._todo.put(name)
        self._threads = [threading.Thread(target=self._serve, args=(slot,), daemon=True)
                         for slot in range(min(plan.jobs, len(names)))]
        for thread in self._threads:
            thread.start()

    def close(self):
        """End all, whatever they are doing."""
        with self._lock:
            self._stopped = True
            for worker in self._workers.values():
                worker.stop()
        for thread in self._threads:
            thread.join()

    def _serve(self, slot):
        try:
            while not self._stopped:
                self.results.put(self._row(slot, self._todo.get_nowait()))
        except queue.Empty:
            pass
        except Exception as error:  # handed to the thread that reads the rows
            self.results.put(error)
        finally:
            self._drop(slot)

    def _row(self, slot, name):
        start = time.monotonic()
        while True:
            worker = self._worker(slot)
            try:
                return {**self.plan.describe(name), **worker.ask(name)}
            except Lost as error:
                self._drop(slot)
                # what killed a used worker may be left from the names before: a new one decides
                if worker.done == 0 or isinstance(error, TooSlow) or self._stopped:
                    return {"name": name, **self.plan.describe(name), "status": "failed", "reason": str(error),
                            "seconds": round(time.monotonic() - start, 2)}

    def _worker(self, slot):
        if slot in self._workers and self._workers[slot].worn():
            self._drop(slot)
        if slot not in self._workers:
            worker = Worker(self.plan)
            with self._lock:
                self._workers[slot] = worker
                if self._stopped:
                    worker.stop()
            worker.wait()
        return self._workers[slot]

    def _drop(self, slot):
        with self._lock:
            worker = self._workers.pop(slot, None)
        if worker:
            worker.close()


def measure_all(names, plan):
    """Yield a row for each name, in the order in which they are done. Leaving the loop ends the workers.

    Raises:
        UserError: a worker does not start.
    """
    pool = Pool(plan, list(names))
    try:
        for _ in names:
            row = pool.results.get()
            if isinstance(row, Exception):
                raise row
            yield row
    finally:
        pool.close()
