# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A small JSON object from outside: read within a limit, or refused in one line."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import UserError

LARGEST_JSON = 4 << 20  # bytes; transformers' largest configs have a tenth of it


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: it is none.
    """
    try:
        if Path(path).stat().st_size > LARGEST_JSON:
            raise ValueError(f"it has more than {LARGEST_JSON >> 20} MiB")
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read '{path}' ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"'{path}' is not a JSON object")
    return content
