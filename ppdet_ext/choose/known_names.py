# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Names that a command line asks for: as they are written, and all that are like a pattern."""
from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from ..backbones import list_models
from ..errors import UserError
from ..trace import on_demand


def known() -> list[str]:
    """Names of networks, without tags, sorted."""
    return sorted({*list_models(), *on_demand.shipped()})


def wanted(archs: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The names in ``archs``, then those like a pattern, each once.

    Raises:
        UserError: a pattern that no name is like.
    """
    found = list(archs)
    for pattern in patterns:
        names = [name for name in known() if fnmatch.fnmatchcase(name, pattern)]
        if not names:
            raise UserError(f"--filter '{pattern}': no network has such a name; 'resnet*' has some")
        found += names
    return list(dict.fromkeys(found))
