# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Before the first epoch, evaluation is tried on two pictures: what cannot be evaluated fails now, not an epoch later.

They are the widest and the tallest of the evaluation set, read and put together as the evaluation will, then seen by
backbone and neck. No random number is drawn from training's, and nothing is kept.
"""
from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn
from ppdet.core.workspace import create

from ..data.reading import parse_once, read_batch
from ..errors import UserError
from .precision import Precision


@paddle.no_grad()
def rehearse(model: nn.Layer, dataset: Any, batch_size: int, precision: Precision) -> None:
    """Try EvalReader, backbone and neck.

    Args:
        model: the detector; its modes come back as they were.
        dataset: the evaluation's; its annotations are read here, once for all.
        batch_size: of the evaluation.
    Raises:
        UserError: pictures of one batch have different sizes, or a size that the model cannot take.
    """
    parse_once(dataset)
    records = _extremes(dataset.roidbs or [])
    reader = create("EvalReader")
    flags = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    model.eval()
    try:
        for group in [records] if batch_size > 1 else [[record] for record in records]:
            _see(model, read_batch(reader, group), precision)
    except UserError as error:
        raise UserError(f"evaluation would fail: {error}") from None
    finally:
        for layer, flag in flags:
            layer.training = flag


def _extremes(records):
    shaped = [record for record in records if record.get("w") and record.get("h")]
    shaped.sort(key=lambda record: float(record["w"]) / float(record["h"]))
    return [shaped[0], shaped[-1]] if shaped else []


def _see(model, batch, precision):
    image = batch.get("image")
    if image is None or getattr(model, "backbone", None) is None:
        return
    decode = getattr(getattr(model, "post_process", None), "bbox_decode_type", None)
    if decode == "origin" and not np.array_equal(np.broadcast_to(image.shape[-2:], np.shape(batch["im_shape"])),
                                                 batch["im_shape"]):
        raise UserError("EvalReader pads pictures, and boxes would be computed as if it did not; set "
                        "DETRPostProcess.bbox_decode_type: pad")
    tensors = {key: paddle.to_tensor(value) for key, value in batch.items()
               if isinstance(value, np.ndarray) and value.dtype.kind in "fiub"}
    with precision.auto_cast():
        features = model.backbone(tensors)
        if getattr(model, "neck", None) is not None:
            model.neck(features)
