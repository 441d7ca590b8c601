# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Exports of a small RT-DETR in forms that failed: oblong without eval_size to ONNX, and with discrete sampling."""
import logging

import numpy as np
import paddle
import pytest
from support.trainers import trainer_of

from ppdet_ext.deploy import Predictor
from ppdet_ext.deploy.compare_detections import agreeing
from ppdet_ext.engine import export, verify_export
from ppdet_ext.errors import UserError

V2 = """
DETR: {transformer: RTDETRTransformerv2}
RTDETRTransformerv2: {num_queries: 20, num_decoder_layers: 1, dim_feedforward: 32, nhead: 2, num_denoising: 5,
                      cross_attn_sampling_method: discrete}
"""


def wake(model):
    """Heads and offsets drawn apart, as training does: at their start all queries are alike."""
    paddle.seed(1)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and any(part in name for part in ("score_head", "bbox_head", "sampling_offsets")):
            parameter.set_value(paddle.randn(parameter.shape) * 0.1)


@pytest.fixture
def discrete(tiny_config):
    tiny_config.write_text(tiny_config.read_text() + V2)
    trainer = trainer_of(tiny_config, mode="test")
    wake(trainer.model)
    return trainer


@pytest.mark.slow
def test_an_oblong_onnx_without_eval_size(tiny_config, tmp_path):
    """paddle2onnx aborted (SIGABRT) at the anchors' mask. The export's own verification is the test of its values."""
    for package in ("paddle2onnx", "onnxruntime"):
        pytest.importorskip(package, reason='pip install "ppdet-ext[onnx]"')
    text = tiny_config.read_text().replace("eval_size: [64, 64]", "eval_size: null")
    text = text.replace("image_shape: [3, 64, 64]", "image_shape: [3, 64, 96]").replace("target_size: [64, 64]",
                                                                                       "target_size: [64, 96]")
    tiny_config.write_text(text)
    folder = export.export_model(trainer_of(tiny_config, mode="test"), tmp_path / "out", onnx=True)
    found = Predictor(folder, engine="onnxruntime").predict([np.zeros((64, 96, 3), np.uint8)])
    assert len(found[0]["boxes"]) == 20


def sampling(model):
    return {layer.sampling for layer in model.sublayers() if hasattr(layer, "sampling")}


def test_a_discrete_model_is_written_in_both_forms(discrete, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(export, "_write", lambda model, folder, chance=False, **_: written.append(
        (sampling(model), chance, folder)))
    folder = export.export_model(discrete, tmp_path / "out")
    (plain, plain_chance, beside), (rounding, chance, kept) = written
    assert (plain, plain_chance, rounding, chance) == ({"default"}, False, {"discrete"}, True)
    assert beside != kept and not beside.exists() and folder.is_dir()
    assert sampling(discrete.model) == {"discrete"}


@pytest.mark.slow
def test_discrete_sampling_is_verified_bilinearly(discrete, tmp_path, log, monkeypatch):
    """Of the rounding model most need agree; whatever else it does is held to the usual tolerance."""
    log.set_level(logging.INFO)
    folder = export.export_model(discrete, tmp_path / "out")
    lines = [message for message in log.messages if message.startswith("exported")]
    assert sum("without partner" in line for line in lines) == 2  # the bilinear form: two cases
    assert sum("agree to 0.001; the others are what rounding moves" in line for line in lines) == 2
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]


@pytest.mark.parametrize("boxes", [True, False])
def test_a_sampling_that_is_wrong_is_refused_all_the_same(boxes):
    """It moves most queries, where rounding moves a few."""
    wanted = np.random.default_rng(0).random((20, 6)).astype("float32")
    wanted[:, 0] = 0
    few, most = wanted.copy(), wanted.copy()
    few[:2, 1:] += 0.1
    most[:, 1:] += np.float32(0.1)
    case = verify_export.Case("noise", {}, [wanted, np.array([20])])
    verify_export._compare_shares(case, [few, np.array([20])], "model.json", boxes)
    with pytest.raises(UserError, match="differs from the trained model on noise: only .*% of its values agree to"):
        verify_export._compare_shares(case, [most, np.array([20])], "model.json", boxes)


def test_anchors_are_no_truth_values(tiny_config):
    """paddle2onnx aborts at a constant of such; those of eval_size are no constants."""
    model = trainer_of(tiny_config, ["eval_size=null"], "test").model
    anchors, valid = model.transformer._anchors([(8, 12), (4, 6), (2, 3)])
    assert anchors.dtype == valid.dtype == paddle.float32
    assert set(np.unique(valid.numpy())) <= {0.0, 1.0}


def test_the_share_that_agrees():
    boxes = np.array([[0, 0.9, 0, 0, 10, 10], [1, 0.5, 5, 5, 9, 9], [0, 0.4, 1, 1, 2, 2], [0, 0.3, 3, 3, 4, 4.0]])
    other = boxes[::-1].copy()
    assert agreeing(boxes, other) == 1.0
    other[0, 2] += 1  # a box moves
    other[2, 0] = 0  # a class changes
    assert agreeing(boxes, other) == 0.5
    other[1] = np.nan
    assert agreeing(boxes, other) == 0.25
    assert agreeing(boxes[:0], boxes[:0]) == 1.0
    assert agreeing(boxes, boxes[:0]) == 0.0
