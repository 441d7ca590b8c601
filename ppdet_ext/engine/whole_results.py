# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""ppdet's COCO metric, whose bbox.json appears whole: a full disk or a kill leaves the former one."""
from __future__ import annotations

import json
import logging
from pathlib import Path

from ppdet.metrics import COCOMetric
from ppdet.metrics.coco_utils import cocoapi_eval

from ..files import atomic_path

log = logging.getLogger("ppdet.engine")


class WholeCOCOMetric(COCOMetric):
    """For boxes; results of other kinds are ppdet's."""

    def accumulate(self) -> None:
        """Write bbox.json to ``output_eval``, or the working directory, and evaluate it."""
        boxes, self.results["bbox"] = self.results["bbox"], []
        super().accumulate()
        self.results["bbox"] = boxes
        if not boxes:
            return
        path = Path(self.output_eval or "") / "bbox.json"
        with atomic_path(path) as temporary, open(temporary, "w") as file:
            json.dump(boxes, file)
        log.info(f"The bbox result is saved to {path}.")
        if not self.save_prediction_only:
            self.eval_results["bbox"] = cocoapi_eval(str(path), "bbox", anno_file=self.anno_file,
                                                     classwise=self.classwise)
