# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a run says: all of it into train.log as it comes, and on a terminal above one line that shows how far it is."""
from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ..errors import UserError, masked
from ..startup import quiet

NAME = "train.log"
# pycocotools' table; where a progress line stands, one line says AP instead
TABLE = re.compile(r" Average (Precision|Recall) ")
CARRIAGE_RETURN = "\r"
SECONDS = 0.2  # between two drawings of the line, at least
WIDEST = 30  # of the bar


class RunOutput:
    """The terminal and the log file of a run, from ``open`` to ``close``.

    With a progress line, what is printed goes above it, and of the log only warnings: the other lines are in the file.
    Without one, all that is printed and logged stays where it is, and goes into the file, too.
    """

    def __init__(self) -> None:
        self.is_open = False
        self._file: IO[str] | None = None
        self._live: Any = None
        self._drawn = 0.0
        self._handlers: list[tuple[logging.StreamHandler, int, Any]] = []

    @property
    def has_line(self) -> bool:
        """Whether a progress line stands at the terminal's end."""
        return self._live is not None

    @property
    def due(self) -> bool:
        """Whether there is a progress line that was not just drawn: a text for it is worth making."""
        return self._live is not None and time.monotonic() - self._drawn >= SECONDS

    def open(self, line: bool, path: Path | None = None, append: bool = False) -> None:
        """Begin.

        Args:
            line: whether there is a progress line.
            path: of the log file; None: there is none.
            append: go on with what is in it.
        """
        self.is_open = True
        if path is not None:
            mode = "a" if append else "w"
            self._file = open(path, mode, buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            self._write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}: {_command()}")
            quiet.hear_loggers()
            quiet.keep_with(self._write)
        if line:
            self._start_line(sys.stdout)
        sys.stdout = _Stream(sys.stdout, self, self._printed)
        beside = not sys.stderr.isatty()
        sys.stderr = _Stream(sys.stderr, self, self._write if beside else self._printed, beside)

    def draw(self, done: float, text: str) -> None:
        """Show how far the run is, where that is due.

        Args:
            done: 0 to 1, for the bar.
            text: one line.
        """
        if self.due:
            self._drawn = time.monotonic()
            self._live.update(_line(self._live.console.width, done, text), refresh=True)

    def say(self, text: str) -> None:
        """A line that stays, where there is a progress line to say it instead of the log."""
        if self._live is not None:
            self._above(text)

    def end_line(self) -> None:
        """From here on there is no progress line; all that is printed and logged is shown."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()
            for handler, level, stream in self._handlers:
                handler.setLevel(level)
                handler.setStream(stream)
            self._handlers = []

    def close(self, error: BaseException | None = None) -> None:
        """End; the file's last lines are the error that ended the run, where one did."""
        self.end_line()
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, _Stream) and stream.owner is self:
                setattr(sys, name, stream.under)
        if self._file is not None:
            for line in _of_error(error):
                self._write(line)
            quiet.keep_with(None)
            quiet.leave_loggers()
            self._file.close()
            self._file = None
        self.is_open = False

    def _printed(self, line: str) -> None:
        self._write(line)
        if not (self._file is not None and TABLE.match(line)):
            self._above(line)

    def _above(self, line: str) -> None:
        if self._live is not None:
            self._live.console.out(line, highlight=False)

    def _write(self, line: str) -> None:
        if self._file is not None:
            self._file.write(f"{line.rpartition(CARRIAGE_RETURN)[2]}\n")  # of a bar that was drawn over its last state

    def _start_line(self, terminal: IO[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        # drawn by hand: a thread that draws could hold the console's lock while a reader's workers are forked
        self._live = Live(console=Console(file=terminal, force_terminal=True), auto_refresh=False, transient=True,
                          redirect_stdout=False, redirect_stderr=False)
        self._live.start()
        above = _Stream(terminal, self, self._above)
        for handler in {handler for logger in quiet.loggers() for handler in logger.handlers}:
            if isinstance(handler, logging.StreamHandler) and handler.stream in (terminal, sys.__stdout__):
                self._handlers.append((handler, handler.level, handler.stream))
                handler.setLevel(max(handler.level, logging.WARNING))
                handler.setStream(above)


class _Stream:
    """In the place of a stream: hands whole lines to ``take``; where there is no progress line, the text on as it is.

    In a reader's workers, which are copies of the process, it only does the latter.

    Args:
        beside: the stream goes elsewhere than to the terminal with the line.
    """

    def __init__(self, under: Any, owner: RunOutput, take: Callable[[str], None], beside: bool = False) -> None:
        self.under, self.owner, self._take, self._beside = under, owner, take, beside
        self._rest, self._process = "", os.getpid()

    def write(self, text: str) -> int:
        """Take a text, whole lines or not."""
        own = os.getpid() == self._process
        if not own or self._beside or not self.owner.has_line:
            self.under.write(text)
        if own:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                self._take(line)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.under, name)


def _line(width: int, done: float, text: str) -> Any:
    """One row of a terminal: a bar, where there is room for it, and the text, drawn together where it is long."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    text = text if len(text) < width else text.replace("  ", " ")
    room = min(width - len(text) - 2, WIDEST)
    row = Table.grid(padding=(0, 1))
    words = Text(text, no_wrap=True, overflow="ellipsis")
    row.add_row(*([ProgressBar(total=1.0, completed=done, width=room)] if room >= 6 else []), words)
    return row


def _command() -> str:
    """What was started, as one could type it again."""
    return masked(shlex.join(sys.argv))


def _of_error(error: BaseException | None) -> list[str]:
    """An error's lines for the file: one for what is the user's to mend."""
    if error is None:
        return []
    if isinstance(error, UserError):
        return [f"error: {error}"]
    if isinstance(error, KeyboardInterrupt):
        return [str(error) or "interrupted"]
    return "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines()
