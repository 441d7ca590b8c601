# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Hands the room ``report`` what it shows of a training run or of an evaluation; that room knows no Paddle."""
from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from ppdet.core.workspace import create

from ..checkpoints import stamp
from ..checkpoints.facts import Facts
from ..config import resolved
from ..files import require_writable, sha256
from ..report import box_tables, error_kinds, evaluation_part, figures, run_page, run_part, swap_part
from ..report.class_results import ClassResult, class_results
from ..report.page import Words
from . import class_table, metrics_file
from .hooks import Hook, Status
from .metrics import VocBoxes, voc_boxes

if TYPE_CHECKING:
    from .trainer import Trainer

FOLDER = "eval_report"  # of an evaluation's page and plots
Pairs = list[tuple[Words, Any]]


@dataclass(frozen=True)
class Evaluated:
    """An evaluation's boxes, read once, and what follows from them, when it is asked for."""

    truth: box_tables.Truth
    found: box_tables.Found
    paths: Mapping[int, str | Path]
    given: list[ClassResult] | None = None

    @classmethod
    def of(cls, dataset: Any, boxes: str | Path) -> Evaluated:
        """Of a COCO data set of ppdet, parsed or not, and a bbox.json."""
        truth, found = box_tables.read(dataset.get_anno(), boxes)
        folder = Path(dataset.dataset_dir, dataset.image_dir or "")
        return cls(truth, found, {int(number): folder / name for number, name in zip(truth.ids, truth.files)})

    @classmethod
    def of_voc(cls, metric: VocBoxes, dataset: Any) -> Evaluated:
        """Of VOC's metric, and a data set that is parsed. A difficult object stands for a crowd: it does not count."""
        paths = {int(record["im_id"][0]): record["im_file"] for record in dataset.roidbs}
        results = class_table.voc_results(metric.detection_map)
        pictures = metric.pictures
        objects = [{"image_id": one.im_id, "category_id": int(label), "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "iscrowd": int(difficult)} for one in pictures
                   for label, difficult, (x1, y1, x2, y2) in zip(one.labels, one.difficult, one.corners.tolist())]
        truth = box_tables.Truth.of({
            "images": [{"id": one.im_id, "file_name": str(paths.get(one.im_id, one.im_id))} for one in pictures],
            "categories": [{"id": number, "name": one.name} for number, one in enumerate(results)],
            "annotations": objects})
        boxes = np.concatenate([one.boxes for one in pictures]).astype(float) if pictures else np.zeros((0, 6))
        ids = np.repeat(np.array([one.im_id for one in pictures], int), [len(one.boxes) for one in pictures])
        corners = np.hstack([boxes[:, 2:4], boxes[:, 4:] - boxes[:, 2:4]])
        return cls(truth, box_tables.Found.of_columns(ids, boxes[:, 0].astype(int), corners, boxes[:, 1], truth), paths,
                   results)

    @functools.cached_property
    def classes(self) -> list[ClassResult]:
        """Each class's AP and curve; COCO's, where the metric has not given its own."""
        return class_results(self.truth, self.found) if self.given is None else self.given

    @property
    def ap(self) -> dict[str, float | None]:
        """AP and AP50 over all classes that have objects."""
        rated = [one for one in self.classes if one.ap is not None]
        return {name: float(np.mean([getattr(one, key) for one in rated])) if rated else None
                for name, key in (("AP", "ap"), ("AP50", "ap50"))}

    def part(self) -> evaluation_part.EvaluationPart:
        """Its part of a page."""
        return evaluation_part.evaluation_part(error_kinds.analyse(self.truth, self.found), self.classes, self.paths)


def write_training(trainer: Trainer, facts: Mapping[str, Any], evaluated: Evaluated | None, config: str) -> Path:
    """Write ``report.html`` into the run's folder; its path.

    Args:
        facts: the report as ``TrainingReport.facts`` has it.
        evaluated: of the best checkpoint; None without an evaluation.
        config: the resolved config.
    """
    pairs = [(("started from", "起点"), facts["started_from"]), (("checkpoint", "检查点"), facts["checkpoint"]),
             (("epoch", "轮"), facts["epoch"])]
    rows = trainer.history.rows
    page = run_page.Page(
        trainer.cfg["filename"], run_page.TRAINING, pairs, facts["ap"],
        run_part.run_part(rows, metrics_file.read(trainer.output / metrics_file.NAME)),
        evaluated.part() if evaluated else None,
        [*backbone_weights(trainer), *pixels(trainer.facts)], gpu(), config, facts["next"],
        swap_part.swap_part(trainer.swapped) if trainer.swapped else None)
    return run_page.write(page, trainer.output)


class EvaluationReport(Hook):
    """The page of one evaluation; made before it, so that an older bbox.json is not taken for its own.

    Args:
        cfg: ppdet's config, as the command line means it.
        weights: the checkpoint's file, or the exported model.
        old: whether the bbox.json that lies there is what is evaluated (--json_eval).
    """

    def __init__(self, cfg: Mapping[str, Any], weights: str | Path = "", old: bool = False) -> None:
        self.cfg, self.weights = cfg, weights
        self.boxes = Path(cfg.get("output_eval") or "") / "bbox.json"
        self.before = None if old else self._written()
        self.config = resolved.as_yaml(cfg)
        self.trainer: Trainer | None = None
        self.evaluated: Evaluated | None = None

    def join(self, trainer: Trainer) -> None:
        """Take part in the evaluation of a trainer."""
        self.trainer = trainer
        trainer.hooks.append(self)

    def after_evaluation(self, status: Status) -> None:
        """Keep the boxes of VOC's metric, which forgets them."""
        voc = voc_boxes(self.trainer.metrics) if self.trainer else None
        if self.trainer and voc is not None and voc.pictures:
            self.evaluated = Evaluated.of_voc(voc, self.trainer.dataset)

    def _written(self) -> int | None:
        return self.boxes.stat().st_mtime_ns if self.boxes.is_file() else None

    def write(self, ap: Mapping[str, float | None] | None = None) -> Path | None:
        """Write ``eval_report/report.html`` beside bbox.json, and its plots as PNG; the page's path is printed.

        Args:
            ap: the evaluation's figures; None: they are taken from the boxes. Nothing is written without any, nor with
                ``report: false``.
        """
        if self.cfg.get("report") is False:
            return None
        evaluated, trainer = self.evaluated, self.trainer
        if self.cfg["metric"] == "COCO" and self._written() != self.before and ap != {}:
            evaluated = Evaluated.of(create("EvalDataset")(), self.boxes)
        ap = evaluated.ap if evaluated and ap is None else ap
        if not ap:
            return None
        part = evaluated.part() if evaluated else None
        folder = require_writable(self.boxes.parent / FOLDER)
        for name, figure in (part.drawn if part else {}).items():
            figures.write_png(figure, folder / f"{name}.png")
        page = run_page.Page(self.cfg["filename"], run_page.EVALUATION, checkpoint(self.weights), ap, None, part,
                             pixels(trainer.checkpoint.facts) if trainer and trainer.checkpoint else (), gpu(),
                             self.config)
        path = run_page.write(page, folder)
        print(f"page: {path}", flush=True)
        return path


def checkpoint(weights: str | Path) -> Pairs:
    """What is evaluated: its file, digest, run and epoch; or a folder."""
    path = Path(weights)
    pairs: Pairs = [(("weights", "权重"), str(weights))] if weights else []
    if path.is_file():
        pairs.append((("sha256", ""), sha256(path)))
        own = stamp.read(path)
        if own is not None:
            pairs.append((("written at", "写于"), str(own)))
    return pairs


def backbone_weights(trainer: Trainer) -> Pairs:
    """Where the backbone's first weights came from, and what is known of them."""
    backbone: Any = getattr(trainer.model, "backbone", None)
    report = getattr(backbone, "load_report", None)
    pairs: Pairs = []
    if hasattr(backbone, "full_arch"):
        pairs.append((("backbone", "骨干网络"), backbone.full_arch))
    if report is None:
        return pairs
    meta = report.meta
    name = ".".join(str(meta[key]) for key in ("arch", "tag") if meta.get(key))
    return [*pairs, (("weights", "权重"), name), (("source", "来源"), report.source), (("sha256", ""), report.sha256),
            (("licence", "许可证"), meta.get("license")), (("their mean", "权重的均值"), meta.get("mean")),
            (("their std", "权重的标准差"), meta.get("std"))]


def pixels(facts: Facts) -> Pairs:
    """What a checkpoint's facts say of the pictures that it saw."""
    pairs: Pairs = [
        (("mean of the training's pixels", "训练所用均值"), facts.mean),
        (("std of the training's pixels", "训练所用标准差"), facts.std),
        (("evaluated at height, width", "评估尺寸 (高, 宽)"), facts.size), (("training data", "训练数据"), facts.data)]
    return [(words, value) for words, value in pairs if value]


def gpu() -> Sequence[tuple[Words, Any]]:
    """The GPU's name, where one is in use."""
    if not paddle.is_compiled_with_cuda() or not paddle.get_device().startswith("gpu"):
        return ()
    return [(("GPU", ""), paddle.device.cuda.get_device_name())]
