# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``metrics.jsonl``: what a run measures of itself, one JSON object a line, appended while it trains."""
from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import atomic_path

log = logging.getLogger("ppdet.engine")
NAME = "metrics.jsonl"


class MetricsFile:
    """Lines of three kinds ('train', 'eval', 'warning'), each with the number of batches trained so far as 'step'.

    A disk that is full costs these lines and one warning, never the training.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / NAME
        self._broken = False

    def begin(self, earlier: str | os.PathLike[str] | None = None, up_to: int = 0) -> set[str]:
        """Start the file: empty, or with another run's lines.

        Args:
            earlier: folder of the run that this one goes on with; its file need not be there.
            up_to: its lines up to this step are taken over. What it did after the checkpoint is done again.

        Returns:
            The rules that those lines have said something of.
        """
        lines = [line for line in read(Path(earlier) / NAME) if line["step"] <= up_to] if earlier else []
        with atomic_path(self.path) as path:
            path.write_text("".join(map(_as_line, lines)), encoding="utf-8")
        return {line.get("rule", "") for line in lines if line.get("kind") == "warning"}

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; numbers that are not finite become null."""
        if self._broken:
            return
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(_as_line(line))
        except OSError as error:
            self._broken = True
            log.warning(f"'{self.path}' cannot be written ({error.strerror}); the training goes on without it")


def read(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The lines of a metrics.jsonl; those that are cut off, or are none of ours, are left out. None without a file."""
    if not Path(path).is_file():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                yield line


def _as_line(line):
    return json.dumps(strict(line), allow_nan=False, ensure_ascii=False) + "\n"


def strict(value: Any) -> Any:
    """``value`` as strict JSON has it: None for numbers that are not finite, numpy's numbers as Python's."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
