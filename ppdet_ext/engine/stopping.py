# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Ctrl-C, and SIGTERM as clusters send it: a training ends between two steps, with a checkpoint to go on from."""
from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from ..data import worker_threads
from ..distributed import processes

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = (b"\ninterrupted: this step is finished and a checkpoint is written (an evaluation is finished first); "
          b"Ctrl-C again ends at once\n")


class StopRequest:
    """Whether a signal has asked the run to end.

    Attributes:
        signal: the first signal that came; 0 before.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._process = os.getpid()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, signals are noted instead of ending the process. Only the main thread can listen.

        Of several processes, one that ends goes on to ignore SIGTERM: the launcher repeats it until the process has
        gone, and this one has its report and its last line to write. (SIGKILL is what the launcher sends in the end.)
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.signal = 0
        worker_threads.excuse_deaths(False)
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                if not (number == signal.SIGTERM and self.signal and processes.count() > 1):
                    signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """A second Ctrl-C ends at once. A second SIGTERM does not: Paddle's launcher sends three within a second."""
        if os.getpid() != self._process:  # a reader's worker: Ctrl-C is for the main process, which ends it
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        # also where the processes have agreed already: the launcher sends to one after the other, with their workers
        worker_threads.excuse_deaths()
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal:
            return
        self.signal = number
        if processes.is_main():
            os.write(2, NOTICE)  # logging could wait for a lock that this very thread holds

    def agreed(self) -> bool:
        """Whether any process was asked; the same answer in all, which all ask. They have waited for each other.

        A signal that comes meanwhile is too late for this answer, and counts for the next.
        """
        asked = processes.all_reduce_max(self.signal, wait=False)
        if asked:
            self.signal = asked
            worker_threads.excuse_deaths()
        return bool(asked)

    @property
    def code(self) -> int:
        """The exit code that stands for the signal: 130 or 143."""
        return 128 + self.signal
