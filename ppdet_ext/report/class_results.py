# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""AP, AP50 and the precision-recall curve of each class, by pycocotools."""
from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class ClassResult:
    """One class: its name, AP and AP50 (None without ground truth), and the curve at IoU 0.5."""

    name: str
    ap: float | None
    ap50: float | None
    precision: np.ndarray
    recall: np.ndarray


def coco_results(detections: str | Path, anno_path: str | Path) -> list[ClassResult]:
    """Each class's results from a bbox.json, sorted by category id as pycocotools does it."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(anno_path))
        evaluation = COCOeval(truth, truth.loadRes(str(detections)), "bbox")
        # over all areas only: AP of sizes is ppdet's table, and each area takes as long
        evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, -1]  # [IoU, recall, class], 100 boxes
    return [ClassResult(str(truth.loadCats(int(category))[0]["name"]), _mean(precision[:, :, i]),
                        _mean(precision[0, :, i]), precision[0, :, i], evaluation.params.recThrs)
            for i, category in enumerate(evaluation.params.catIds)]


def _mean(precision: np.ndarray) -> float | None:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else None
