# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A whole sweep: names -> rows in a file as they come, with a progress bar."""
from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ..files import require_writable
from . import rows, worker_pool

SHOWN = {"ok": "ok", "short": "falls short", "failed": "failed"}  # beside the bar -> status


def run(names: Sequence[str], path: str | Path, plan: worker_pool.Plan, resume: bool = False,
        retry: bool = False) -> dict[str, dict]:
    """Measure names and return all rows of the file by name, those of earlier runs among them.

    Args:
        path: .jsonl file, to which each row is added when it is there. Without ``resume`` an old one is moved aside
            (``.previous.jsonl``).
        plan: how to measure.
        resume: keep the file's rows and leave out the names that have one.
        retry: with ``resume``, measure those again that are not ok.

    Raises:
        UserError: the file cannot be read or written, or a worker does not start.
    """
    path = Path(path)
    require_writable(path.parent)
    found = rows.read(path) if resume else {}
    if path.is_file() and not resume:
        os.replace(path, path.with_suffix(".previous.jsonl"))
    rows.rewrite(path, found)
    todo = rows.remaining(names, found, retry)
    counts = Counter(found[name]["status"] for name in names if name in found and name not in set(todo))
    with contextlib.closing(worker_pool.measure_all(todo, plan)) as measured, \
            tqdm(total=len(names), initial=len(names) - len(todo), unit="model", dynamic_ncols=True) as bar:
        for row in measured:
            rows.append(path, row)
            found[row["name"]] = row
            counts[row["status"]] += 1
            bar.set_postfix({key: counts[status] for key, status in SHOWN.items()}, refresh=False)
            bar.update()
    return found
