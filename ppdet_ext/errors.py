# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The one exception a user is meant to read, and the hint that goes with a misspelt name."""
from __future__ import annotations

import re
import sys
from collections.abc import Iterable

# what would end a line, or change what a terminal shows: names in files can hold any of it
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """Text with its control characters written out (``\\n``), so that it stays one line and shows what it is."""
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


class UserError(Exception):
    """Something the user can mend. The message is one line: what is wrong, where, what to do."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class Unsupported(UserError):
    """What no other input and no other size would mend: an operation or a layer that no table has, or such code."""


def show_in_one_line() -> None:
    """From here on an uncaught UserError prints ``error: ...`` instead of a traceback, and the process ends with 2.

    For mistakes that are found before any tool could catch them.
    """
    before = sys.excepthook

    def hook(kind, error, trace):
        if not issubclass(kind, UserError):
            before(kind, error, trace)
            return
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

    sys.excepthook = hook


def nearest(name: object, choices: Iterable[object], n: int = 3) -> str:
    """A hint such as ``; did you mean a, b?`` for the choices closest to ``name``; empty where none is close."""
    import difflib  # not needed for --help

    close = difflib.get_close_matches(str(name), [str(c) for c in choices], n=n, cutoff=0.6)
    return f"; did you mean {', '.join(close)}?" if close else ""
