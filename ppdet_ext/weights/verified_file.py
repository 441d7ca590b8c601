# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Whether a file in the cache is still the one that was put there: its sha256, noted in a small file beside it."""
from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import atomic_path, sha256

SUFFIX = ".verified.json"


class Changed(UserError):
    """A file is not the one that was noted, or not the one that its name announces."""


def note(path: str | Path, digest: str) -> None:
    """Write beside ``path`` that its sha256 is ``digest``, as of its present size and time of change.

    Where that cannot be written the next look at the file takes longer, and no more.
    """
    with contextlib.suppress(OSError, UserError), atomic_path(_beside(path)) as about:
        about.write_text(json.dumps({**_state(path), "sha256": digest}), encoding="utf-8")


def is_noted(path: str | Path) -> bool:
    """Whether something is noted of ``path``."""
    return bool(_noted(path))


def digest_of(path: str | Path, prefix: str = "", origin: str = "") -> str:
    """The sha256 of ``path``: the noted one while size and time of change are as they were, else computed anew.

    Args:
        prefix: what it must begin with.
        origin: what messages call the place the file is from.

    Raises:
        Changed: it does not begin so, or the bytes are others than those noted.
    """
    noted = _noted(path)
    known = bool(noted) and all(noted.get(key) == value for key, value in _state(path).items())
    digest = noted["sha256"] if known else sha256(path)
    if noted and digest != noted["sha256"]:
        raise Changed(f"'{path}' was changed after it was downloaded (its sha256 is {digest[:12]}..., it was "
                      f"{noted['sha256'][:12]}...): delete it to get it again, or give the file itself where the "
                      "change is yours")
    check_prefix(digest, prefix, origin or f"'{path}'")
    if not known:
        note(path, digest)
    return digest


def check_prefix(digest: str, prefix: str, origin: str) -> None:
    """Raise Changed unless the sha256 ``digest`` begins with ``prefix``."""
    if not digest.startswith(prefix):
        raise Changed(f"{origin} gave a file whose sha256 is {digest[:12]}..., not {prefix[:12]}...: it is damaged or "
                      "was replaced; get it again")


def _beside(path):
    return Path(f"{path}{SUFFIX}")


def _state(path) -> dict[str, int]:
    about = Path(path).stat()
    return {"size": about.st_size, "mtime_ns": about.st_mtime_ns}


def _noted(path) -> dict[str, Any]:
    """What is noted of ``path``; {} where nothing is, or no longer readable."""
    try:
        found = json.loads(_beside(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("sha256"), str) else {}
