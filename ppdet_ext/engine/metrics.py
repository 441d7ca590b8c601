# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What ppdet's metrics found, by name; AP per class; and a few images' detections kept for the picture."""
import contextlib
import io

import numpy as np
from ppdet.metrics import Metric

# the twelve numbers of pycocotools' summary, in its order; VOC has one, at IoU 0.5
COCO_NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
              "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")
VOC_NAMES = ("AP50",)


def ap_values(metrics):
    """{'AP': 0.41, 'AP50': ...} of the first box metric that has a result, else {}. -1 (nothing to find) is None."""
    for metric in metrics:
        values = (metric.get_results() or {}).get("bbox")
        if values is not None and len(values):
            names = COCO_NAMES if len(values) == len(COCO_NAMES) else VOC_NAMES
            return {name: float(value) if value > -1 else None for name, value in zip(names, values)}
    return {}


def main_ap(values):
    """The number that decides which checkpoint is best: AP, or AP50 where there is no other; None without one."""
    return values.get("AP", values.get("AP50"))


def class_ap(detections, anno_path):
    """AP and AP50 per class from a bbox.json: {name: (AP, AP50)}, None where a class has no ground truth."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(anno_path))
        evaluation = COCOeval(truth, truth.loadRes(str(detections)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, -1]  # [IoU, recall, class] over all areas, 100 boxes
    return {truth.loadCats(int(category))[0]["name"]: (_mean(precision[:, :, i]), _mean(precision[0, :, i]))
            for i, category in enumerate(evaluation.params.catIds)}


def _mean(precision):
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else None


class Samples(Metric):
    """Keeps the detections of the first ``count`` images: {im_id: [N, 6] of (class, score, x1, y1, x2, y2)}."""

    def __init__(self, count=6):
        self.count = count
        self.reset()

    def reset(self):
        self.detections = {}

    def update(self, inputs, outputs):
        boxes, numbers = np.asarray(outputs["bbox"]), np.asarray(outputs["bbox_num"])
        for im_id, found in zip(np.asarray(inputs["im_id"]).ravel(), np.split(boxes, np.cumsum(numbers)[:-1])):
            if len(self.detections) < self.count:
                self.detections[int(im_id)] = found

    def accumulate(self):
        return None

    def get_results(self):
        return {}
