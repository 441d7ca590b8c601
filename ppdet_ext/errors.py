# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The one exception a user is meant to read, and the hint that goes with a misspelt name."""
import difflib


class UserError(Exception):
    """Something the user can mend. The message is one line: what is wrong, where, what to do."""


def nearest(name, choices, n=3):
    """A hint such as ``; did you mean a, b?`` for the choices closest to ``name``; empty where none is close."""
    close = difflib.get_close_matches(str(name), [str(c) for c in choices], n=n, cutoff=0.6)
    return f"; did you mean {', '.join(close)}?" if close else ""
