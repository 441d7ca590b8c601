# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detections from the ways to get them, in one form: a list (or {file name: ...}) of boxes [N, 6].

Columns: class, score, x1, y1, x2, y2 in pixels of the original picture. Compare with ``ppdet_ext.deploy.compare_all``.
"""
import json

import numpy as np


def of_trainer(results):
    """From what ``Trainer.predict`` returns: one array per picture, in the order of the pictures."""
    return [boxes for batch in results for boxes in np.split(batch["bbox"], np.cumsum(batch["bbox_num"])[:-1])]


def of_predictor(results):
    """From what ``deploy.Predictor.predict`` returns."""
    return [result["boxes"] for result in results]


def of_bbox_json(path, categories=None):
    """From a bbox.json: {file name without folders (tools/eval.py's has none: image number): boxes}.

    categories: category number -> class number, for all but tools/deploy_infer.py's, which has class numbers.
    """
    found = {}
    for record in json.loads(path.read_text()):
        x, y, width, height = record["bbox"]
        label = categories[record["category_id"]] if categories else record["category_id"]
        picture = record["file_name"].split("/")[-1] if "file_name" in record else record["image_id"]
        found.setdefault(picture, []).append([label, record["score"], x, y, x + width, y + height])
    return {name: np.array(boxes, np.float32) for name, boxes in found.items()}


def spread_heads(model, seed=0):
    """Redraw a detector's heads, so that an untrained one gives scores and boxes that differ from each other."""
    rng = np.random.default_rng(seed)
    for name, parameter in model.named_parameters():
        if "score_head" in name and name.endswith("bias"):
            parameter.set_value(np.full(parameter.shape, -3, "float32"))
        elif ("score_head" in name or "bbox_head" in name) and name.endswith("weight"):
            parameter.set_value((rng.standard_normal(parameter.shape) / np.sqrt(parameter.shape[0])).astype("float32"))
