# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A file that appears whole or not at all. What a killed process left of one is removed at the next start."""
from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from .deploy_error import DeployError

try:
    import fcntl
except ImportError:  # Windows: nobody can tell whether a process lives, so nothing is removed
    fcntl = None  # type: ignore[assignment]  # the name stands for "there is none"

# as ppdet_ext.files names them, whose folders these may be, too
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.partial(\..*)?")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_cleared: set[Path] = set()


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix); it becomes ``path`` on success and goes on error.

    Raises:
        DeployError: the folder cannot be made or written, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        raise DeployError(f"cannot write to '{path.parent}' ({error.strerror}); name another --output_dir") from None
    try:
        _lock(handle)
        _clear(path.parent)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DeployError(f"cannot write '{path}' ({error.strerror}): free some space, or name another --output_dir; "
                          "what was there before is kept") from None
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def _clear(folder):
    """Once a folder: remove what processes that live no longer left."""
    folder = folder.resolve()
    if folder in _cleared or fcntl is None:
        return
    _cleared.add(folder)
    for path in folder.glob(".*.partial*"):
        # an OSError: its process lives, or it is not ours to remove
        with contextlib.suppress(OSError):
            if TEMPORARY.fullmatch(path.name) and path.is_file() and not _belongs_to_a_set(path):
                handle = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(handle)


def _belongs_to_a_set(path):
    """Whether it is one of several files that ppdet_ext.files has still to rename."""
    return path.with_name(f"{path.name.rpartition('.partial')[0]}.complete").exists()


def _lock(handle):
    if fcntl is not None:
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(handle, fcntl.LOCK_EX)
