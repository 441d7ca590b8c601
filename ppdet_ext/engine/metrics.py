# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""ppdet's metric of a config, what it found by name, AP per class, and a few images' detections for the picture."""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ppdet.metrics import Metric, VOCMetric

from ..config.values import COCO_METRICS, VOC_METRICS
from ..report.class_results import coco_results
from . import class_table
from .whole_results import WholeCOCOMetric as COCOMetric


def box_metric(cfg: dict[str, Any], dataset: Any) -> Metric:
    """ppdet's metric of a config, for boxes in an evaluation data set that is parsed."""
    common: dict[str, Any] = {"table": bool(cfg.get("classwise")), "output_eval": cfg.get("output_eval"),
                              "save_prediction_only": bool(cfg.get("save_prediction_only"))}
    if cfg["metric"] == "VOC":
        return VocBoxes(label_list=dataset.get_label_list(), class_num=cfg["num_classes"],
                        map_type=cfg.get("map_type", "11point"), **common)
    return CocoBoxes(anno_file=dataset.get_anno(), bias=1 if cfg.get("bias") else 0,
                     IouType=cfg.get("IouType", "bbox"),
                     clsid2catid={label: category for category, label in dataset.catid2clsid.items()}, **common)


class CocoBoxes(COCOMetric):
    """ppdet's metric with this project's ``class_table`` (``table``) in place of its own."""

    def __init__(self, *args: Any, table: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def accumulate(self) -> None:
        """Write bbox.json and evaluate it."""
        super().accumulate()
        if self.table and "bbox" in self.eval_results:
            class_table.show("bbox", coco_results(Path(self.output_eval or ".") / "bbox.json", self.anno_file))


class VocBoxes(VOCMetric):
    """ppdet's metric with this project's ``class_table`` (``table``) in place of its own."""

    def __init__(self, *args: Any, table: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def reset(self) -> None:
        """Forget all."""
        super().reset()
        self.pictures: list[VocPicture] = []

    def update(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Look at a batch."""
        super().update(inputs, outputs)
        if self.save_prediction_only:
            return
        numbers = np.asarray(outputs["bbox_num"])
        boxes = np.split(np.asarray(outputs["bbox"]).reshape(-1, 6), np.cumsum(numbers)[:-1])
        for place, (im_id, found) in enumerate(zip(np.asarray(inputs["im_id"]).ravel(), boxes)):
            height, width = np.asarray(inputs["scale_factor"])[place]
            corners = np.asarray(inputs["gt_bbox"][place]).reshape(-1, 4) / [width, height, width, height]
            labels, difficult = (np.asarray(inputs[key][place]).ravel() for key in ("gt_class", "difficult"))
            real = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])  # the others fill up the batch
            self.pictures.append(VocPicture(int(im_id), found, corners[real], labels[real], difficult[real] > 0))

    def log(self) -> None:
        """Print mAP, and the table."""
        super().log()
        if self.table and not self.save_prediction_only:
            class_table.show("voc", class_table.voc_results(self.detection_map))


class VocPicture(NamedTuple):
    """One image of an evaluation: boxes [N, 6] (class, score, x1, y1, x2, y2), and of its objects the corners [M, 4],
    class numbers, and whether they are difficult, so that they do not count."""

    im_id: int
    boxes: np.ndarray
    corners: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray


def voc_boxes(metrics: Iterable[Metric]) -> VocBoxes | None:
    """The metric for VOC among those of an evaluation, also where several processes share it; None without one."""
    each = (one for metric in metrics for one in getattr(metric, "metrics", (metric,)))
    return next((one for one in each if isinstance(one, VocBoxes)), None)


def ap_values(metrics: Iterable[Metric]) -> dict[str, float | None]:
    """{'AP': 0.41, 'AP50': ...} of the first box metric that has a result, else {}. -1 (nothing to find) is None."""
    for metric in metrics:
        values = (metric.get_results() or {}).get("bbox")
        if values is not None and len(values):
            names = COCO_METRICS if len(values) == len(COCO_METRICS) else VOC_METRICS
            return {name: float(value) if value > -1 else None for name, value in zip(names, values)}
    return {}


def main_ap(values: dict[str, float | None]) -> float | None:
    """The number that decides which checkpoint is best: AP, or AP50 where there is no other; None without one."""
    return values.get("AP", values.get("AP50"))


class Samples(Metric):
    """Keeps the detections of the first ``count`` images: {im_id: [N, 6] of (class, score, x1, y1, x2, y2)}."""

    def __init__(self, count: int = 6) -> None:
        self.count = count
        self.reset()

    def reset(self) -> None:
        """Forget all."""
        self.detections: dict[int, np.ndarray] = {}

    def update(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Look at a batch."""
        boxes, numbers = np.asarray(outputs["bbox"]), np.asarray(outputs["bbox_num"])
        for im_id, found in zip(np.asarray(inputs["im_id"]).ravel(), np.split(boxes, np.cumsum(numbers)[:-1])):
            if len(self.detections) < self.count:
                self.detections[int(im_id)] = found

    def accumulate(self) -> None:
        """Nothing: it is no number."""

    def get_results(self) -> dict:
        """Nothing: it is no number."""
        return {}
