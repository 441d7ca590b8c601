# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""PaddleDetection develop's RT-DETR and RT-DETRv2 models: names and shapes of all, and of some outputs, losses and
gradients with weights made from names."""
import gzip
from contextlib import nullcontext

import numpy as np
import paddle
import pytest
from ppdet.core.workspace import create
from support.detector_cases import (
    CONFIGS,
    build_detector,
    eval_batch,
    frozen_norm_train,
    in_same_order,
    raw_outputs,
    train_batch,
)
from support.paths import FILES

from ppdet_ext import kernels
from ppdet_ext.config import config_file
from ppdet_ext.registry.weights_wanted import without_pretrained
from ppdet_ext.weights import relative_error

NAMES = sorted(path.name[:-len(".tsv.gz")] for path in (FILES / "state_dict").glob("*.tsv.gz"))
# stochastic depth is off on both sides, for its random numbers differ
DETERMINISTIC = {"SwinTransformer": {"drop_path_rate": 0.0}, "FocalNet": {"drop_path_rate": 0.0}}
SIDES = {"rtdetr_focalnet_L_384_3x_coco": 320}
FAST = ("rtdetr_r18vd_6x_coco",)
GOLDEN = [pytest.param(path.stem, marks=[] if path.stem in FAST else pytest.mark.slow)
          for path in sorted(FILES.glob("rtdetr*.npz"))]


def config_of(name):
    return f"{name.partition('_')[0]}/{name}.yml"


def test_every_official_config_is_here():
    here = {path.stem for folder in ("rtdetr", "rtdetrv2") for path in (CONFIGS / folder).glob("*.yml")}
    assert len(NAMES) == 19 and set(NAMES) <= here


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_has_the_official_names_and_shapes(name, cheap_start):
    lines = gzip.decompress((FILES / "state_dict" / f"{name}.tsv.gz").read_bytes()).decode().splitlines()
    wanted = dict(line.split("\t")[:2] for line in lines)
    cfg = config_file.load(CONFIGS / config_of(name))
    with without_pretrained():
        model = create(cfg.architecture)
    have = {name: "x".join(map(str, value.shape)) for name, value in model.state_dict().items()}
    assert have == wanted


@pytest.mark.parametrize("name", GOLDEN)
def test_outputs_equal_the_golden_ones(name):
    golden = np.load(FILES / f"{name}.npz")
    side = SIDES.get(name, 640)
    model, batch = build_detector(config_of(name), eval_size=[side, side]), eval_batch(side, side)
    # discrete sampling rounds places to pixels: between two of them a convolution's own rounding decides
    with nullcontext() if "_dsp_" in name else kernels.enabled():
        boxes, logits = in_same_order(*raw_outputs(model, batch), golden["dec_boxes"])
        with paddle.no_grad():
            found = model(batch)
    detections = found["bbox"].numpy()
    # detections of almost equal scores may change places
    same_order, _ = in_same_order(detections[None], detections[None], golden["bbox"][None])
    errors = {
        "boxes": relative_error(boxes, golden["dec_boxes"]),
        "logits": relative_error(logits, golden["dec_logits"]),
        "scores": relative_error(detections[:, 1], golden["bbox"][:, 1]),
        "detections": relative_error(same_order[0], golden["bbox"]),
    }
    print({name: f"max|d|/max|ref| = {error:.1e}" for name, error in errors.items()})
    assert max(errors.values()) <= 1e-4
    assert found["bbox_num"].numpy().tolist() == golden["bbox_num"].tolist()


@pytest.mark.parametrize("name", GOLDEN)
def test_losses_and_gradients_equal_the_golden_ones(name):
    golden = np.load(FILES / f"{name}.npz")
    without_noise = {"num_denoising": 0}
    model = frozen_norm_train(build_detector(
        config_of(name), RTDETRTransformer=without_noise, RTDETRTransformerv2=without_noise, **DETERMINISTIC))
    losses = model(train_batch(320, 320, 2))
    losses["loss"].backward()
    squares = [float((p.grad.astype("float64") ** 2).sum()) for p in model.parameters() if p.grad is not None]
    values = {f"train_{name}": float(value) for name, value in losses.items()}
    values["train_grad_norm"] = sum(squares) ** 0.5

    wanted = {name: float(golden[name]) for name in golden if name.startswith("train_")}
    assert set(values) == set(wanted)
    errors = {name: abs(values[name] - value) / max(abs(value), 1e-6) for name, value in wanted.items()}
    print({name: f"{error:.1e}" for name, error in errors.items()})
    assert max(errors.values()) <= 1e-3
