# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Writing files so that a broken run never leaves half of one, nor one of several that belong together.

A temporary file lies beside its target as ``.<name>.<8 digits>.partial<suffix>``, locked while its process lives. What
a killed process left is found by its name and its free lock: :func:`settle` removes it, or, where all files of a set
were complete (``.<name>.<8 digits>.complete`` says so), finishes the set.
"""
from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import UserError

try:
    import fcntl
except ImportError:  # Windows: nobody can tell whether a process lives, so nothing is removed
    fcntl = None  # type: ignore[assignment]  # the name stands for "there is none"

TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<token>[0-9a-f]{8})\.partial(?P<suffix>.*)")
# what is wrong with a disk -> what to do
FULL, READ_ONLY = "free some space, or name another folder", "name another folder"
HINTS = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EFBIG: FULL, errno.EROFS: READ_ONLY}
RIGHTS = "name another folder or mend its rights"
TRIAL = 1 << 20
_settled: set[Path] = set()


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix); rename it over ``path`` on success, remove it on error.

    Raises:
        UserError: the folder cannot be made or written, or the disk is full.
    """
    path = Path(path)
    with atomic_set(path.with_name(path.stem), [path.suffix]) as paths:
        yield paths[path.suffix]


@contextlib.contextmanager
def atomic_set(prefix: str | os.PathLike[str], suffixes: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Yield {suffix: temporary path}; on success all become ``prefix`` + suffix, on error none.

    A process that is killed before the last byte leaves the former files. One that is killed between the renames leaves
    a set that the next :func:`settle` completes.

    Raises:
        UserError: see :func:`atomic_path`.
    """
    prefix = Path(prefix)
    folder = require_writable(prefix.parent)
    token = secrets.token_hex(4)
    paths = {suffix: folder / f".{prefix.name}.{token}.partial{suffix}" for suffix in suffixes}
    complete = folder / f".{prefix.name}.{token}.complete"
    with contextlib.ExitStack() as locks:
        try:
            with one_line(f"{prefix}{suffixes[0]}"):
                for path in paths.values():
                    locks.callback(os.close, _create(path))
                yield paths
                _make_public(paths.values())
                if len(paths) > 1:
                    complete.touch()
                _rename(paths, prefix, complete)
        finally:
            if complete.exists():  # broken off between the renames, by Ctrl-C perhaps: the set is whole, so go on
                with contextlib.suppress(OSError):
                    _rename(paths, prefix, complete)
            else:
                for path in paths.values():
                    path.unlink(missing_ok=True)


def _make_public(paths):
    """A writer may have put a private file in the place of ours; what we publish follows the user's umask."""
    mask = os.umask(0)
    os.umask(mask)
    for path in paths:
        path.chmod(0o666 & ~mask)


def _rename(paths, prefix, complete):
    for suffix, path in paths.items():
        if path.exists():
            os.replace(path, f"{prefix}{suffix}")
    complete.unlink(missing_ok=True)


def link_set(source: str | os.PathLike[str], target: str | os.PathLike[str], suffixes: Sequence[str]) -> None:
    """Give the files ``source`` + suffix the names ``target`` + suffix too, all or none, as :func:`atomic_set` does.

    They are hard links, which take no room; copies where the file system has none, or the folders lie on two.

    Raises:
        UserError: see :func:`atomic_path`.
    """
    with atomic_set(target, suffixes) as paths:
        for suffix, path in paths.items():
            path.unlink()
            if not linked(f"{source}{suffix}", path):
                shutil.copy2(f"{source}{suffix}", path)


def linked(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> bool:
    """Give a file a second name, a hard link. False where that is impossible: another disk, no such links, a name that
    is taken."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def temporary_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder beside ``target``, which is removed at the end with what is still in it.

    Raises:
        UserError: see :func:`atomic_path`.
    """
    target = Path(target)
    path = require_writable(target.parent) / f".{target.name}.{secrets.token_hex(4)}.partial"
    with one_line(target), contextlib.ExitStack() as locks:
        path.mkdir()
        locks.callback(os.close, _lock(os.open(path, os.O_RDONLY)))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _create(path):
    """The descriptor of a new file, locked. Whoever saw it before the lock may have removed it: then once more."""
    while True:
        handle = _lock(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666))
        if path.exists():
            return handle
        os.close(handle)


def _lock(handle):
    if fcntl is not None:
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


@contextlib.contextmanager
def _taken(path):
    """Whether the process that wrote ``path`` has ended; the lock is ours inside."""
    if fcntl is None:
        yield False
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    finally:
        os.close(handle)


def settle(folder: str | os.PathLike[str]) -> None:
    """Finish the sets in ``folder`` that killed processes had completed, and remove their other temporary files.

    What belongs to a living process, or is not named as ours, stays. So does all in a folder that cannot be written.
    """
    folder = Path(folder)
    left = [(path, TEMPORARY.fullmatch(path.name)) for path in sorted(folder.glob(".*.partial*"))]
    for path, name in left:
        # an OSError: its process lives, another process settles too, or the folder is read-only
        with contextlib.suppress(OSError):
            if name is not None:
                with _taken(path) as free:
                    if free:
                        _finish(path, folder, **name.groupdict())
    for complete in folder.glob(".*.complete"):
        with contextlib.suppress(OSError):
            if re.fullmatch(r"\..+\.[0-9a-f]{8}\.complete", complete.name) and \
                    not any(path.name.startswith(f"{complete.stem}.partial") for path in folder.glob(".*.partial*")):
                complete.unlink()


def _finish(path, folder, name, token, suffix):
    if (folder / f".{name}.{token}.complete").exists():
        os.replace(path, folder / f"{name}{suffix}")
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def problem(error: BaseException) -> str | None:
    """Why a file could not be written, where that is what ``error`` says, in whatever words a library put it in.

    Returns:
        'No space left on device; free some space, or name another folder', or None for any other error.
    """
    seen: BaseException | None = error
    while seen is not None:
        for code, hint in HINTS.items():
            if getattr(seen, "errno", None) == code or os.strerror(code) in str(seen):
                return f"{os.strerror(code)}; {hint}"
        seen = seen.__cause__ or seen.__context__
    return None


def cannot_write(error: BaseException) -> str:
    """A line for an error that no :func:`one_line` saw: a full or read-only disk, a file without rights; else ''."""
    reason, name = problem(error), getattr(error, "filename", None)
    if reason is None and name is not None and getattr(error, "errno", None) in (errno.EACCES, errno.EPERM):
        reason = f"{error.strerror}; {RIGHTS}"  # type: ignore[attr-defined]  # it has an errno
    return f"cannot {f'use {name!r}' if name else 'write'} ({reason})" if reason else ""


def require_room(folder: str | os.PathLike[str]) -> None:
    """Raise UserError where the disk of ``folder`` is full; to be asked after a library that would not say so."""
    reason = _trial(Path(folder))
    if reason:
        raise UserError(f"cannot write to '{folder}' ({reason}); what was there before is kept")


def _trial(folder):
    """What the disk itself says to TRIAL bytes: some libraries write half a file and say nothing, or nothing of it."""
    path = folder / f".trial.{secrets.token_hex(4)}.partial"
    try:
        path.write_bytes(bytes(TRIAL))
    except OSError as error:
        return problem(error)
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    return None


@contextlib.contextmanager
def one_line(path: str | os.PathLike[str]) -> Iterator[None]:
    """Around what writes ``path``: a full or read-only disk is a UserError, whatever a library says of it.

    Raises:
        UserError: see above.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = problem(error) or _trial(Path(path).parent)
        if reason is None:
            raise
        raise UserError(f"cannot write '{path}' ({reason}); what was there before is kept") from None


def data_path(name: str) -> Path:
    """A data file or folder of the package, ``configs`` or ``weights/manifest.yml``.

    It lies beside the package in a checkout. A build copies it into the package, so there it is when installed.
    """
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.exists() else package.parent / name


def require_writable(folder: str | os.PathLike[str]) -> Path:
    """Make ``folder``, try to write in it, and the first time :func:`settle` it.

    Raises:
        UserError: it cannot be made, is not a folder, or is not writable.
    """
    folder = Path(folder)
    probe = folder / f".probe.{secrets.token_hex(4)}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(_create(probe))
        probe.unlink()
    except OSError as error:
        hint = HINTS.get(error.errno or 0, RIGHTS)
        raise UserError(f"cannot write to '{folder}' ({error.strerror}); {hint}") from None
    if folder.resolve() not in _settled:
        _settled.add(folder.resolve())
        settle(folder)
    return folder


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex digest of a file's bytes, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()
