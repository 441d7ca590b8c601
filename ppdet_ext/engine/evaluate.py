# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""AP without the Trainer's loop: of an exported model through its predictor, of slices, and of a bbox.json.

Several processes share the pictures of the first two.
"""
import sys
from pathlib import Path

import numpy as np
import paddle
from ppdet.core.workspace import create
from ppdet.metrics import COCOMetric, VOCMetric
from ppdet.metrics.coco_utils import json_eval_results
from tqdm import tqdm

from .. import kernels
from ..deploy import Predictor, slicing
from ..distributed import processes
from ..errors import UserError
from ..files import require_writable
from .metrics import ap_values
from .parallel import Gathered
from .predict import Windows


def exported_model(cfg, model_dir, chunk=32, slices=None, **options):
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
    if slices:
        return _score(cfg, dataset, lambda paths: [slicing.detect(predictor, path, slices) for path in paths], 1)
    return _score(cfg, dataset, lambda paths: [found["boxes"] for found in predictor.predict(paths)], chunk)


@kernels.enabled()
def sliced(cfg, trainer, slices):
    """AP of a trainer's model whose pictures are cut into slices, as ``predict.predict`` cuts them; printed.

    Returns:
        {'AP': ..., 'AP50': ...}
    """
    trainer.model.eval()
    windows = Windows(trainer)
    with paddle.no_grad():
        return _score(cfg, _dataset(), lambda paths: [slicing.detect(windows, path, slices) for path in paths], 1)


def _dataset():
    dataset = create("EvalDataset")()
    dataset.check_or_download_dataset()
    dataset.parse_dataset()
    return dataset


def _score(cfg, dataset, detect, chunk):
    """AP of ``detect``: paths of up to ``chunk`` images -> a [N, 6] array (class, score, x1, y1, x2, y2) for each."""
    metric = Gathered([_metric(cfg, dataset)], {})
    records = dataset.roidbs[processes.rank()::processes.count()]
    for start in tqdm(range(0, len(records), chunk), disable=not sys.stderr.isatty()):
        part = records[start:start + chunk]
        for record, boxes in zip(part, detect([record["im_file"] for record in part])):
            metric.update(_inputs(record), {"bbox": boxes, "bbox_num": np.array([len(boxes)])})
    metric.accumulate()
    metric.log()
    return ap_values([metric])


def saved_boxes(cfg, folder=None):
    """AP of the bbox.json that an evaluation left in ``folder`` (default: the working directory); printed.

    Raises:
        UserError: there is none, or the metric is not COCO.
    """
    path = Path(folder or ".") / "bbox.json"
    if not path.is_file():
        raise UserError(f"--json_eval: there is no '{path}'; name its folder with --output_eval")
    if cfg["metric"] != "COCO":
        raise UserError(f"--json_eval works with metric: COCO only; the config's is {cfg['metric']}")
    json_eval_results(cfg["metric"], folder, create("EvalDataset")())


def _metric(cfg, dataset):
    folder = cfg.get("output_eval")
    if folder:
        require_writable(folder)
    common = {"classwise": bool(cfg.get("classwise")), "output_eval": folder,
              "save_prediction_only": bool(cfg.get("save_prediction_only"))}
    if cfg["metric"] == "VOC":
        return VOCMetric(label_list=dataset.get_label_list(), class_num=cfg["num_classes"],
                         map_type=cfg.get("map_type", "11point"), **common)
    return COCOMetric(anno_file=dataset.get_anno(), bias=1 if cfg.get("bias") else 0, IouType="bbox",
                      clsid2catid={label: category for category, label in dataset.catid2clsid.items()}, **common)


def _inputs(record):
    """What the metric wants to know of one image; boxes are in the image's own pixels."""
    truth = {key: [record[key]] for key in ("gt_bbox", "gt_class", "difficult") if key in record}
    return {"im_id": np.reshape(record["im_id"], (1, -1)), "scale_factor": np.ones((1, 2), "float32"), **truth}
