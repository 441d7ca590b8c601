# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The R18 detector against PaddleDetection develop's: names, shapes, outputs, losses and gradients."""
from pathlib import Path

import numpy as np
import paddle
import pytest
from detector_cases import build_detector, eval_batch, frozen_norm_train, in_same_order, raw_outputs, train_batch

from ppdet_ext.bridge import relative_error

DATA = Path(__file__).parent / "data"
NAME = "rtdetr_r18vd_6x_coco"


@pytest.fixture
def golden():
    return np.load(DATA / f"{NAME}.npz")


def test_state_dict_has_the_official_names_and_shapes():
    lines = (DATA / f"{NAME}.tsv").read_text().splitlines()
    wanted = dict(line.split("\t")[:2] for line in lines)
    have = {name: "x".join(map(str, value.shape)) for name, value in build_detector().state_dict().items()}
    assert have == wanted


def test_outputs_equal_the_golden_ones(golden):
    model, batch = build_detector(), eval_batch(640, 640)
    boxes, logits = in_same_order(*raw_outputs(model, batch), golden["dec_boxes"])
    with paddle.no_grad():
        found = model(batch)
    errors = {
        "boxes": relative_error(boxes, golden["dec_boxes"]),
        "logits": relative_error(logits, golden["dec_logits"]),
        "detections": relative_error(found["bbox"].numpy(), golden["bbox"]),
    }
    print({name: f"max|d|/max|ref| = {error:.1e}" for name, error in errors.items()})
    assert max(errors.values()) <= 1e-4
    assert found["bbox_num"].numpy().tolist() == golden["bbox_num"].tolist()


def test_losses_and_gradients_equal_the_golden_ones(golden):
    model = frozen_norm_train(build_detector(RTDETRTransformer={"num_denoising": 0}))
    losses = model(train_batch(320, 320, 2))
    losses["loss"].backward()
    squares = [float((p.grad.astype("float64") ** 2).sum()) for p in model.parameters() if p.grad is not None]
    values = {f"train_{name}": float(value) for name, value in losses.items()}
    values["train_grad_norm"] = sum(squares) ** 0.5

    wanted = {name: float(golden[name]) for name in golden if name.startswith("train_")}
    assert set(values) == set(wanted)
    errors = {name: abs(values[name] - wanted[name]) / max(abs(wanted[name]), 1e-6) for name in wanted}
    print({name: f"{error:.1e}" for name, error in errors.items()})
    assert max(errors.values()) <= 1e-3
