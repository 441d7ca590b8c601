# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""AP per class (--classwise): a table, and a precision-recall curve of each class as a picture.

ppdet's own table takes pycocotools' classes, which are sorted by id, for those in the file's order; VOC's gives a class
the name of another where one has no object; and a class's name is taken for a path.
"""
from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence

import numpy as np
from ppdet.metrics.map_utils import DetectionMAP, draw_pr_curve

from ..deploy.file_names import distinct_names, safe_name
from ..errors import printable
from ..files import require_writable
from ..report.class_results import ClassResult

log = logging.getLogger("ppdet.engine")
MOST_COLUMNS = 3  # of a name and an AP


def show(style: str, results: Sequence[ClassResult]) -> None:
    """Log the table, and draw the curves into ``STYLE_pr_curve/`` of the working directory.

    Args:
        style: bbox (COCO) or voc.
    """
    from terminaltables import AsciiTable

    folder = require_writable(f"{style}_pr_curve")
    names = distinct_names([f"{safe_name(result.name)}_precision_recall_curve.jpg" for result in results])
    for result, name in zip(results, names):
        if len(result.precision):
            draw_pr_curve(result.precision, result.recall, out_dir=str(folder), file_name=name)
    cells = [(printable(result.name), f"{np.nan if result.ap is None else result.ap:0.3f}") for result in results]
    width = min(MOST_COLUMNS, len(cells))
    rows = [list(itertools.chain(*cells[start:start + width])) for start in range(0, len(cells), width)]
    rows[-1] += [""] * (2 * width - len(rows[-1]))
    log.info("Per-category of %s AP: \n%s", style, AsciiTable([["category", "AP"] * width, *rows]).table)
    log.info("per-category PR curve has output to %s folder.", folder)


def voc_results(scored: DetectionMAP) -> list[ClassResult]:
    """Of each class of an accumulated DetectionMAP, in class order."""
    return [_voc_result(scored, *row) for row in zip(scored.classes, scored.class_score_poss, scored.class_gt_counts)]


def _voc_result(scored, name, scores, count):
    one = DetectionMAP(1, scored.overlap_thresh, scored.map_type, catid2name={0: name})
    one.class_score_poss, one.class_gt_counts = [scores], [count]
    one.accumulate()
    curve = one.eval_results[0] if one.eval_results else {"precision": [], "recall": []}
    ap = float(one.mAP) if count else None
    return ClassResult(name, ap, ap, np.asarray(curve["precision"]), np.asarray(curve["recall"]))
