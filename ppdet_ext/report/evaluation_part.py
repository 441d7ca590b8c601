# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An evaluation's part of a page: AP, classes, errors by kind and size, who is taken for whom, best and worst pictures.

All numbers of boxes count detections from one score on, that of the best F1. AP counts all.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import error_kinds, figures
from .class_results import ClassResult
from .error_kinds import CORRECT, ERRORS, IGNORED, SIZES, Errors
from .page import Picture, Words
from .thumbnails import COLOURS, KINDS, Thumbnail, thumbnails

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORST, BEST = 8, 4  # pictures
CLASSES = 400  # rows of the table
CONFUSIONS = 10
AP_NAMES: dict[str, Words] = {
    "AP": ("AP, mean of IoU 0.50 to 0.95", "AP，IoU 0.50 至 0.95 的平均"), "AP50": ("AP at IoU 0.50", "IoU 0.50 的 AP"),
    "AP75": ("AP at IoU 0.75", "IoU 0.75 的 AP"), "AP_small": ("AP, small objects", "小目标 AP"),
    "AP_medium": ("AP, medium objects", "中目标 AP"), "AP_large": ("AP, large objects", "大目标 AP"),
    "AR1": ("recall, 1 box an image", "每图 1 框的召回率"), "AR10": ("recall, 10 boxes", "每图 10 框的召回率"),
    "AR100": ("recall, 100 boxes", "每图 100 框的召回率"), "AR_small": ("recall, small objects", "小目标召回率"),
    "AR_medium": ("recall, medium objects", "中目标召回率"), "AR_large": ("recall, large objects", "大目标召回率"),
}
AP_COLUMNS: dict[str, Words] = {"name": ("measure", "指标"), "value": ("value", "值")}
CLASS_COLUMNS: dict[str, Words] = {
    "name": ("class", "类别"), "objects": ("objects", "目标数"), "ap": ("AP", ""), "ap50": ("AP50", ""),
    "precision": ("precision", "精确率"), "recall": ("recall", "召回率")}
ERROR_COLUMNS: dict[str, Words] = {
    "kind": ("kind", "类型"), "cost": ("costs AP50", "损失的 AP50"), "all": ("boxes", "数量"),
    "small": ("small", "小"), "medium": ("medium", "中"), "large": ("large", "大")}
CONFUSION_COLUMNS: dict[str, Words] = {
    "true": ("true class", "真实类别"), "detected": ("detected as", "检测为"), "count": ("boxes", "数量"),
    "share": ("of the class's objects", "占该类目标")}


@dataclass(frozen=True)
class EvaluationPart:
    """What the template shows. ``plots``: pictures by name; ``drawn``: the same as matplotlib's figures."""

    threshold: float
    classes: list[dict[str, Any]]
    classes_left_out: int
    errors: list[dict[str, Any]]
    confusions: list[dict[str, Any]]
    plots: dict[str, Picture] = field(default_factory=dict)
    worst: list[Thumbnail] = field(default_factory=list)
    best: list[Thumbnail] = field(default_factory=list)
    images: int = 0
    objects: int = 0
    drawn: dict[str, Figure] = field(default_factory=dict)


def evaluation_part(errors: Errors, classes: Sequence[ClassResult], paths: Mapping[int, str | Path]) -> EvaluationPart:
    """Tables, figures and pictures.

    Args:
        classes: each class's AP, in any order; by name.
        paths: {image id: its file}.
    """
    costs, matrix = error_kinds.costs(errors), error_kinds.confusion(errors)
    rows = class_rows(errors, classes)
    scores = error_kinds.image_scores(errors)
    worst = [score for score in scores if score.f1 < 1][:WORST]
    good = sorted((score for score in scores if score not in worst and score.right),
                  key=lambda score: (-score.f1, -score.right))
    drawn = plots(errors, classes, costs, matrix)
    return EvaluationPart(
        errors.threshold, rows[:CLASSES], max(len(rows) - CLASSES, 0), error_rows(errors, costs),
        confusion_rows(matrix, errors.truth.names),
        {name: Picture.of(figure, TITLES[name], NOTES.get(name, ("", ""))) for name, figure in drawn.items()},
        thumbnails(errors, worst, paths), thumbnails(errors, good[:BEST], paths),
        len(errors.truth.ids), int((~errors.truth.crowd).sum()), drawn)


TITLES: dict[str, Words] = {
    "pr_curves": ("Precision over recall at IoU 0.5", "精确率-召回率曲线 (IoU 0.5)"),
    "confusion_matrix": ("Confusion matrix", "混淆矩阵"),
    "errors": ("What each kind of error costs", "各类错误损失的 AP50"),
    "sizes": ("Objects by size, and what became of them", "各尺寸目标的检测结果"),
    "scores": ("Scores of right and wrong detections", "正确与错误检测的得分"),
}
NOTES: dict[str, Words] = {
    "pr_curves": ("Of many classes the five worst and the five best. The number is AP50.",
                  "类别多时只画最差和最好的各五类；数字为 AP50。"),
    "confusion_matrix": ("A row is a true class, its colour the share of the row.",
                         "每行为一个真实类别，颜色为占该行的比例。"),
    "errors": ("AP50 gained if only this kind were mended.", "只修正这一类错误时 AP50 的提高。"),
    "sizes": ("Small: below 32² pixels, large: 96² and more.", "小：不足 32² 像素；大：96² 像素及以上。"),
    "scores": ("The line is the score of the best F1.", "竖线为 F1 最高的得分。"),
}


def plots(errors: Errors, classes: Sequence[ClassResult], costs: Mapping[int, float],
          matrix: np.ndarray) -> dict[str, Figure]:
    """The evaluation's figures by name."""
    of_object = errors.object_kind
    parts = {kind: KINDS[kind][0] for kind in (CORRECT, *ERRORS) if (of_object == kind).any()}
    sizes = {size: {name: float((of_object[error_kinds.of_size(errors.truth.area, size)] == kind).sum())
                    for kind, name in parts.items()} for size in SIZES}
    return {
        "pr_curves": figures.precision_recall(classes),
        "confusion_matrix": figures.confusion_matrix(matrix, errors.truth.names),
        "errors": figures.bars({ERRORS[kind][0]: cost for kind, cost in costs.items()}, "AP50 lost"),
        "sizes": figures.stacks(sizes, "objects", {name: COLOURS[kind] for kind, name in parts.items()}),
        "scores": figures.score_histogram(
            errors.found.score[errors.kind == CORRECT],
            errors.found.score[(errors.kind != CORRECT) & (errors.kind != IGNORED)], errors.threshold),
    }


def class_rows(errors: Errors, classes: Sequence[ClassResult]) -> list[dict[str, Any]]:
    """A row for each class, in the annotations' order; precision and recall at the threshold."""
    truth, found, count = errors.truth, errors.found, len(errors.truth.names)
    given = {result.name: result for result in classes}
    shown = errors.shown & (errors.kind != IGNORED)
    objects = np.bincount(truth.label[~truth.crowd], minlength=count)
    detected = np.bincount(found.label[shown], minlength=count)
    right = np.bincount(found.label[shown & (errors.kind == CORRECT)], minlength=count)
    return [{"name": name, "objects": int(objects[i]),
             "ap": given[name].ap if name in given else None, "ap50": given[name].ap50 if name in given else None,
             "precision": right[i] / detected[i] if detected[i] else None,
             "recall": right[i] / objects[i] if objects[i] else None} for i, name in enumerate(truth.names)]


def error_rows(errors: Errors, costs: Mapping[int, float]) -> list[dict[str, Any]]:
    """A row for what is right and for each kind of error: its cost, and numbers by size."""
    return [{"kind": KINDS[kind], "cost": None if kind == CORRECT else round(costs[kind], 3), **row}
            for kind, row in error_kinds.counts(errors).items()]


def confusion_rows(matrix: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs of classes that are mixed up most often."""
    mixed = matrix[:-1, :-1].copy()
    np.fill_diagonal(mixed, 0)
    order = np.argsort(-mixed, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [(row, column) for row, column in zip(*np.unravel_index(order, mixed.shape)) if mixed[row, column]]
    return [{"true": names[row], "detected": names[column], "count": int(mixed[row, column]),
             "share": f"{mixed[row, column] / matrix[row].sum():.0%}"} for row, column in pairs]
