# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Names of files made from what data says: safe ones, and no two alike."""
from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Sequence

# what file systems do not allow, and what means something in a path or on a screen; letters of all languages stay
_UNSAFE = re.compile(r"[^\w .,()+=@#%&~'!\[\]{}-]")
_LONGEST = 200  # bytes; file systems allow 255, and a suffix follows


def safe_name(text: str) -> str:
    """The text as a part of a file's name: without folders, control characters or signs that some system forbids.

    Different texts can give the same name: see ``distinct_names``.
    """
    name = _UNSAFE.sub("_", unicodedata.normalize("NFC", text)).strip(" .")
    return name.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore").rstrip(" .") or "_"


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names in their order; one that was there before, in capitals or not, becomes ``name (2).suffix``."""
    taken: set[str] = set()
    return [_free(name, taken) for name in names]


def _free(name, taken):
    stem, suffix = os.path.splitext(name)
    tries = itertools.chain([name], (f"{stem} ({number}){suffix}" for number in itertools.count(2)))
    free = next(each for each in tries if _key(each) not in taken)
    taken.add(_key(free))
    return free


def _key(name):
    """What a file system that ignores capitals, or how an accent is written, takes for the same."""
    return unicodedata.normalize("NFC", name).casefold()
