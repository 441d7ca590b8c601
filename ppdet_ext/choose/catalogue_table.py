# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Rows of the catalogue as a table in the terminal."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from . import catalogue
from .catalogue import Row, short


def weights_cell(row: Row) -> str:
    """The default weights' tag and licence, and how many others there are."""
    if not row.weights:
        return "none published"
    first, others = row.weights[0], len(row.weights) - 1
    return f"{first.tag} {first.licence or 'licence not said'}{f' +{others}' if others else ''}"


def _top1(row: Row) -> str:
    best = row.best()
    return f"{best.top1:.1f}" if best and best.top1 else ""


# title -> (cell, whether it is a number)
COLUMNS: dict[str, tuple[Callable[[Row], str], bool]] = {
    "name": (lambda row: row.name, False),
    "how": (lambda row: row.how, False),
    "kind": (lambda row: row.kind, False),
    "weights, M": (lambda row: f"{row.backbone_parameters:.1f}", True),
    "GFLOPs": (lambda row: f"{row.gflops:.1f}", True),
    "at": (lambda row: str(row.side), True),
    "strides": (lambda row: short(row.strides), False),
    "channels": (lambda row: short(row.channels), False),
    "train, GB": (lambda row: "" if row.kept_mb is None else f"{row.training_gb():.1f}", True),
    "top-1": (_top1, True),
    "published weights, licence": (weights_cell, False),
}
NOTES = ("weights, GFLOPs: of the features, without the classifier, on one image of the side 'at'; a multiplication "
         "and an addition are two (timm and torchvision publish GMACs, half of it).",
         "train: estimate of a training step of RT-DETR with it, 4 images of 640 x 640, float32, AdamW. top-1: of the "
         "default weights, on ImageNet.",
         "how: native (a port), shipped (its graph is in the package), bridged (torch is needed once).")


def show(rows: Sequence[Row]) -> None:
    """Print the table, what its columns mean and where the figures are from."""
    cells = [list(COLUMNS), *([cell(row) for cell, _ in COLUMNS.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    numbers = [number for _, number in COLUMNS.values()]
    # lines by hand: a library that lays out tables takes seconds for 1,451 rows
    for line in cells:
        print("  ".join(cell.rjust(width) if number else cell.ljust(width)
                        for cell, width, number in zip(line, widths, numbers)).rstrip())
    print("", f"{len(rows)} of {len(catalogue.load())} names.", *NOTES, *catalogue.sources()[1:], sep="\n")
