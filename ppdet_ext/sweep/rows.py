# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A sweep's rows in a file of JSON lines, written as they come, so that a sweep that was broken off can go on."""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError, nearest
from ..files import atomic_path, one_line


def read(path: str | Path) -> dict[str, dict]:
    """Rows by name, the last of a name counting. No file: no rows. A half-written last line is left out."""
    path = Path(path)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows: dict[str, dict] = {}
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows[row["name"]] = row
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                raise UserError(f"'{path}', line {number} is no row of a sweep; remove the line or start anew without "
                                "--resume") from None
    return rows


def rewrite(path: str | Path, rows: dict[str, dict]) -> None:
    """Start the file with these rows (as ``read`` gives them) and no others."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows.values())


def append(path: str | Path, row: dict) -> None:
    """Add a row at the file's end."""
    with one_line(path), open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def listed(known: Sequence[str], path: str | Path) -> list[str]:
    """Those of ``known`` that a file lists, in its order: one a line; empty lines and lines with # do not count.

    Raises:
        UserError: there is no such file, or it has a name that is not known.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UserError(f"--list '{path}' cannot be read: {error.strerror}") from None
    wanted = [line for line in lines if line and not line.startswith("#")]
    unknown = next((name for name in wanted if name not in set(known)), None)
    if unknown is not None:
        raise UserError(f"--list '{path}': '{unknown}' is not among the {len(known)} names that --filter and --library "
                        f"leave{nearest(unknown, known)}")
    return list(dict.fromkeys(wanted))


def remaining(names: Sequence[str], rows: dict[str, dict], retry: bool = False) -> list[str]:
    """Names without a row; with ``retry`` also those whose row is not ok."""
    done = {name for name, row in rows.items() if not retry or row["status"] == "ok"}
    return [name for name in names if name not in done]
