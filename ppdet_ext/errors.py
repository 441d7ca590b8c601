# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The one exception a user is meant to read, names as one may print them, and the hint for a misspelt one."""
from __future__ import annotations

import re
import sys
from collections.abc import Iterable

LONGEST = 2000  # characters of a message: a name in a file can be as long as the file


class UserError(Exception):
    """Something the user can mend. The message is one line: what is wrong, where, what to do.

    Names out of files may be in it, so it is shown without what would begin a line or move the cursor; and addresses,
    so it is shown without passwords.
    """

    def __str__(self) -> str:
        text = _escaped(masked(super().__str__()))
        return text if len(text) <= LONGEST else f"{text[:LONGEST // 2]} ... {text[-LONGEST // 2:]}"


class Interrupted(KeyboardInterrupt):
    """A signal ended the work at a place from which it can go on; the message is one line that says how.

    Attributes:
        code: the exit code that this signal stands for.
    """

    def __init__(self, message: str, code: int = 130) -> None:
        super().__init__(message)
        self.code = code


class Unsupported(UserError):
    """What no other input and no other size would mend: an operation or a layer that no table has, or such code."""


def printable(text: object, longest: int = 200) -> str:
    """A name out of a file as one may print it: as it is, or with escapes (``\\x1b``) in place of what moves a cursor.

    Args:
        text: a tensor's name, a class name, a server's message.
        longest: more characters than that are cut.
    """
    shown = str(text)
    return _escaped(shown if len(shown) <= longest else shown[:longest - 3] + "...")


# user:password@ of an address, and values in its query that give access; as texts, since --help needs neither
_LOGIN = r"(?<=://)[^/?#\s'\"]*@"
_ACCESS = (r"(?i)([?&][\w.-]*(?:token|key|secret|sig|signature|password|passwd|pwd|auth|credential)=)"
           r"[^&#\s'\")]+")


def masked(text: object) -> str:
    """``text`` with *** in place of the passwords and access tokens of the addresses in it."""
    shown = str(text)
    if "://" not in shown:
        return shown
    return re.sub(_ACCESS, r"\1***", re.sub(_LOGIN, "***@", shown))


def _escaped(text):
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


class NotFinite(UserError):
    """Numbers became NaN or infinite while a model ran; who trains it knows the batch and adds it."""


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
