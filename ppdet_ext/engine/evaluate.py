# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""AP without the Trainer's loop: of an exported model through its predictor, of slices, and of a bbox.json.

Several processes share the pictures of the first two.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from ppdet.core.workspace import create
from ppdet.metrics.coco_utils import json_eval_results

from .. import kernels
from ..deploy import Predictor, slicing
from ..distributed import processes
from ..distributed.shared_evaluation import DistributedMetric
from ..errors import UserError
from ..files import require_writable
from ..report.class_results import coco_results
from . import class_table, progress, run_facts
from .metrics import ap_values, box_metric
from .predict import WindowPredictor

if TYPE_CHECKING:
    from .trainer import Trainer


def exported_model(cfg: dict[str, Any], model_dir: str | Path, chunk: int = 32, slices: Any = None,
                   **options: Any) -> dict[str, float | None]:
    """AP of ``model_dir`` on ``EvalDataset`` by ppdet's metric, which prints its table.

    Args:
        cfg: ppdet's config; only its data set and metric are used (the preprocessing is the model's own).
        model_dir: what tools/export_model.py wrote: its folder, or an .onnx in it.
        chunk: images handed over at a time.
        slices: settings of ``deploy.slicing.detect``; None: pictures are taken whole.
        options: ``deploy.Predictor``'s engine, device, run_mode, enable_mkldnn, cpu_threads, batch_size.
    Returns:
        {'AP': ..., 'AP50': ...}
    Raises:
        UserError, DeployError: no such model, other classes than the data set's, an image cannot be read.
    """
    predictor = Predictor(str(model_dir), **options)
    dataset = _dataset()
    if predictor.labels and len(predictor.labels) != len(dataset.cname2cid):
        raise UserError(f"'{model_dir}' knows {len(predictor.labels)} classes, the evaluation set has "
                        f"{len(dataset.cname2cid)}: give the config it was exported with")
    run_facts.check_classes(cfg, predictor.labels, run_facts.names_of(dataset), f"EvalDataset, for '{model_dir}'")
    if slices:
        return _score(cfg, dataset, lambda paths: [slicing.detect(predictor, path, slices) for path in paths], 1)
    # an unreadable picture raises, so there is a result for each
    return _score(cfg, dataset, lambda paths: [found["boxes"] for found in predictor.predict(paths)],  # type: ignore[index]
                  chunk)


@kernels.enabled()
def sliced(cfg: dict[str, Any], trainer: Trainer, slices: Any) -> dict[str, float | None]:
    """AP of a trainer's model whose pictures are cut into slices, as ``predict.predict`` cuts them; printed.

    Returns:
        {'AP': ..., 'AP50': ...}
    """
    trainer.model.eval()
    windows = WindowPredictor(trainer)
    with paddle.no_grad():
        return _score(cfg, _dataset(), lambda paths: [slicing.detect(windows, path, slices) for path in paths], 1)


def _dataset() -> Any:
    dataset = create("EvalDataset")()
    dataset.check_or_download_dataset()
    dataset.parse_dataset()
    return dataset


def _score(cfg: dict[str, Any], dataset: Any, detect: Callable[[Sequence[str]], list[Any]],
           chunk: int) -> dict[str, float | None]:
    """AP of ``detect``: paths of up to ``chunk`` images -> a [N, 6] array (class, score, x1, y1, x2, y2) for each."""
    if cfg.get("output_eval"):
        require_writable(cfg["output_eval"])
    metric = DistributedMetric([box_metric(cfg, dataset)])
    records = dataset.roidbs[processes.rank()::processes.count()]
    with progress.counted("evaluation", len(records), cfg.get("progress")) as tell:
        for start in range(0, len(records), chunk):
            part = records[start:start + chunk]
            for record, boxes in zip(part, detect([record["im_file"] for record in part])):
                metric.update(_inputs(record), {"bbox": boxes, "bbox_num": np.array([len(boxes)])})
            tell(start + len(part))
    metric.accumulate()
    metric.log()
    return ap_values([metric])


def saved_boxes(cfg: dict[str, Any], folder: str | Path | None = None) -> None:
    """AP of the bbox.json that an evaluation left in ``folder`` (default: the working directory); printed.

    Raises:
        UserError: there is none, or the metric is not COCO.
    """
    path = Path(folder or ".") / "bbox.json"
    if not path.is_file():
        raise UserError(f"--json_eval: there is no '{path}'; name its folder with --output_eval")
    if cfg["metric"] != "COCO":
        raise UserError(f"--json_eval works with metric: COCO only; the config's is {cfg['metric']}")
    dataset = create("EvalDataset")()
    json_eval_results(cfg["metric"], folder, dataset)
    if cfg.get("classwise"):
        class_table.show("bbox", coco_results(path, dataset.get_anno()))


def _inputs(record: dict[str, Any]) -> dict[str, Any]:
    """What the metric wants to know of one image; boxes are in the image's own pixels."""
    truth: dict[str, Any] = {key: [record[key]] for key in ("gt_bbox", "gt_class", "difficult") if key in record}
    return {"im_id": np.reshape(record["im_id"], (1, -1)), "scale_factor": np.ones((1, 2), "float32"), **truth}
