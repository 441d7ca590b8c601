# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Writing files so that a broken run never leaves half of one."""
from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix); rename it over ``path`` on success, remove it on error.

    Raises:
        UserError: the folder cannot be made or written.
    """
    path = Path(path)
    require_writable(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; what we publish follows the user's umask as any other file does
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def data_path(name: str) -> Path:
    """A data file or folder of the package, ``configs`` or ``weights/manifest.yml``.

    It lies beside the package in a checkout. A build copies it into the package, so there it is when installed.
    """
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.exists() else package.parent / name


def require_writable(folder: str | os.PathLike[str]) -> Path:
    """Make ``folder`` and try to write in it.

    Raises:
        UserError: it cannot be made, is not a folder, or is not writable.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to '{folder}' ({error.strerror}); name another folder or mend its "
                        "rights") from None
    return folder


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex digest of a file's bytes, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()
