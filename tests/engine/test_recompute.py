# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Activations computed twice: the same loss, gradients and statistics as without."""
import numpy as np
import paddle
import pytest
from support.detector_cases import build_detector, train_batch
from support.small_detector import SMALL

BACKBONES = {"ppdet's ResNet": {}, "native": {"DETR": {"backbone": "TimmBackbone"}, "TimmBackbone": {
    "arch": "tf_efficientnet_lite0", "pretrained": False}}, "bridged": {"DETR": {"backbone": "TimmBackbone"},
    "TimmBackbone": {"arch": "pvt_v2_b0", "pretrained": False}}}


def gradients(model):
    return {name: parameter.grad.numpy().copy() for name, parameter in model.named_parameters()
            if parameter.grad is not None}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_recomputing_changes_no_gradient(backbone):
    """With dropout, BatchNorm in training and denoising: loss, gradients and statistics are equal.

    On one thread: several add up in an order of their own each time.
    """
    paddle.base.core.set_num_threads(1)
    sections = {**SMALL, **BACKBONES[backbone]}

    def run(recompute):
        model = build_detector(**sections).train()
        for part in (getattr(model.backbone, "model", model.backbone), model.neck, model.transformer.decoder):
            assert part.recompute is False
            part.recompute = recompute
        paddle.seed(1)
        total = model(train_batch(64, 64, 2, num_classes=5))["loss"]
        total.backward()
        statistics = {name: value.numpy() for name, value in model.state_dict().items() if name.endswith("_mean")}
        return float(total), gradients(model), statistics
    plain, again = run(False), run(True)
    assert again[0] == plain[0] and again[1].keys() == plain[1].keys() and len(plain[1]) > 100
    largest = max(np.abs(value).max() for value in plain[1].values())
    for name, value in plain[1].items():
        np.testing.assert_allclose(again[1][name], value, rtol=1e-3, atol=1e-6 * largest, err_msg=name)
    for name, value in plain[2].items():
        np.testing.assert_array_equal(again[2][name], value, err_msg=name)


def test_recompute_is_a_key_of_every_part():
    model = build_detector(**{**SMALL, "ResNet": {**SMALL["ResNet"], "recompute": True},
                              "HybridEncoder": {**SMALL["HybridEncoder"], "recompute": True},
                              "RTDETRTransformer": {**SMALL["RTDETRTransformer"], "recompute": True}})
    assert model.backbone.recompute and model.neck.recompute and model.transformer.decoder.recompute
