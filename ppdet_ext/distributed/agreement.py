# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What all processes must have alike: the data set, and the checkpoint that they go on from.

Processes on one machine see the same files. On several machines one may have older pictures, or a folder of its own in
the place of the shared one: without a look they would wait for each other for ever, or train different networks.
"""
from __future__ import annotations

import secrets
import zlib
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import processes


def require_same(what: str, value: str, remedy: str) -> None:
    """Check that all processes have process 0's ``value``; all call. In a run of one process there is nothing to ask.

    Args:
        what: begins the message.
        value: a few words that tell the thing.
        remedy: ends the message.
    Raises:
        UserError: one has another value; raised in all.
    """
    values = processes.all_gather(value)
    other = next((rank for rank, own in enumerate(values) if own != values[0]), None)
    if other is not None:
        raise UserError(f"{what}: process 0 has {values[0]}, but process {other} has {values[other]}; {remedy}")


def data_set(dataset: Any) -> str:
    """A data set in a few words: how many pictures, and a number that changes with their names, order and boxes.

    Folders do not count: machines may have the pictures at different places.
    """
    number = 0
    for record in dataset.roidbs or ():
        boxes = len(record["gt_bbox"]) if "gt_bbox" in record else 0
        number = zlib.crc32(f"{Path(str(record.get('im_file', ''))).name} {boxes}".encode(), number)
    return f"{len(dataset)} pictures ({number:08x})"


def blind(folder: str | Path) -> list[int]:
    """Processes that do not see the main process's ``folder``; all call. It writes a file there for a moment."""
    mark = Path(folder) / f".{processes.all_gather(secrets.token_hex(8))[0]}"
    if processes.is_main():
        mark.touch()
    processes.all_gather(None)  # now it is there
    seen = processes.all_gather(mark.exists())
    if processes.is_main():
        mark.unlink()
    return [rank for rank, own in enumerate(seen) if not own]
