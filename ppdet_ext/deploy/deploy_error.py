# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The one exception of this folder, so that it stands without the rest of the package."""
from __future__ import annotations

from pathlib import Path

from .command_line import one_line


class DeployError(ValueError):
    """Something the user can mend. The message is one line: what is wrong, where, what to do."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


def shown(value: object) -> str:
    """A value of a file for a message: short, one line, and without going through lists in lists."""
    groups = (list, tuple, dict, set)
    if isinstance(value, groups) and (len(value) > 10 or any(isinstance(part, groups) for part in value)):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value[:100] if isinstance(value, str) else value)
    return text if len(text) <= 100 else f"{text[:100]}..."


class in_one_line:
    """Context, to be used any number of times: an engine's own errors, which span many lines, as a DeployError.

    Args:
        runtime: the engine and its version, for the message.
        program: the file that it runs.
        kinds: the exception classes that are the engine's.
    """

    def __init__(self, runtime: str, program: str | Path, *kinds: type[BaseException]):
        self._runtime, self._program, self._kinds = runtime, program, kinds

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None or issubclass(kind, DeployError) or not issubclass(kind, self._kinds):
            return
        # the last line says what is wrong
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [kind.__name__]
        raise DeployError(f"{self._runtime} cannot run '{self._program}': {lines[-1]}") from error
