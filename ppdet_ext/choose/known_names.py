# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Names that a command line asks for: as they are written, and all of the catalogue that are like a pattern."""
from __future__ import annotations

from collections.abc import Sequence

from . import catalogue


def wanted(archs: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The names in ``archs``, then those like a pattern, each once.

    Raises:
        UserError: a pattern that no name is like.
    """
    like = [row.name for pattern in patterns for row in catalogue.rows([pattern])]
    return list(dict.fromkeys([*archs, *like]))
