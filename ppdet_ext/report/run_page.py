# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The page of one run or of one evaluation, out of what its caller knows as plain data."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import atomic_path
from .evaluation_part import AP_COLUMNS, AP_NAMES, CLASS_COLUMNS, CONFUSION_COLUMNS, ERROR_COLUMNS, EvaluationPart
from .page import Words, render
from .run_part import RunPart
from .surroundings import machine, versions
from .swap_part import SWAP_COLUMNS, SwapPart
from .thumbnails import COLOURS, KINDS

NAME = "report.html"
#: what a training writes beside it: a row for each epoch; how it ended
CURVES, FACTS = "curves.json", "report.json"
TRAINING: Words = ("Training", "训练")
EVALUATION: Words = ("Evaluation", "评估")


@dataclass(frozen=True)
class Page:
    """A page's content; what is empty is left out of it.

    Attributes:
        name: of the config.
        kind: TRAINING or EVALUATION.
        facts: (words, value) pairs for the top: where it started from, which checkpoint.
        ap: {'AP': ..., 'AP50': ...}
        run: curves and resources.
        evaluation: classes, errors, pictures.
        weights: (words, value) pairs: name, source, sha256, licence, normalisation.
        device: (words, value) pairs beside the machine's: the GPU.
        config: the resolved config as YAML.
        next: commands to copy.
        swap: what an exchange of the backbone did at the start.
    """

    name: str
    kind: Words
    facts: Sequence[tuple[Words, Any]] = ()
    ap: Mapping[str, float | None] = field(default_factory=dict)
    run: RunPart | None = None
    evaluation: EvaluationPart | None = None
    weights: Sequence[tuple[Words, Any]] = ()
    device: Sequence[tuple[Words, Any]] = ()
    config: str = ""
    next: Sequence[str] = ()
    swap: SwapPart | None = None


def as_html(page: Page) -> str:
    """The page as HTML."""
    known = [{"name": AP_NAMES[name], "value": value} for name, value in page.ap.items() if name in AP_NAMES]
    return render("run.html.j2", title=(f"{page.kind[0]}: {page.name}", page.kind[1]), page=page, ap_rows=known,
                  ap_columns=AP_COLUMNS, class_columns=CLASS_COLUMNS, error_columns=ERROR_COLUMNS,
                  confusion_columns=CONFUSION_COLUMNS, swap_columns=SWAP_COLUMNS,
                  legend=[(COLOURS[kind], KINDS[kind]) for kind in COLOURS], versions=versions(),
                  machine=[*machine(), *page.device])


def write(page: Page, folder: str | Path) -> Path:
    """Write ``report.html`` into a folder; it appears whole. Its path."""
    target = Path(folder) / NAME
    with atomic_path(target) as path:
        path.write_text(as_html(page), encoding="utf-8")
    return target
