# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Activations computed twice: the same loss, gradients and statistics as without."""
import numpy as np
import paddle
import pytest
from support.detector_cases import build_detector, train_batch
from support.small_detector import SMALL

from ppdet_ext.nn import recompute

BACKBONES = {"ppdet's ResNet": {}, "native": {"DETR": {"backbone": "TimmBackbone"}, "TimmBackbone": {
    "arch": "tf_efficientnet_lite0", "pretrained": False}}, "bridged": {"DETR": {"backbone": "TimmBackbone"},
    "TimmBackbone": {"arch": "pvt_v2_b0", "pretrained": False}}}


def gradients(model):
    return {name: parameter.grad.numpy().copy() for name, parameter in model.named_parameters()
            if parameter.grad is not None}


def call_on_copies(function, *values):
    """In place of Paddle's ``recompute``: a plain call whose values add up their gradients in the same order."""
    return function(*(value.clone() if isinstance(value, paddle.Tensor) else value for value in values))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_recomputing_changes_no_gradient(backbone, monkeypatch):
    """With dropout, BatchNorm in training and denoising: loss, gradients and statistics are equal to the bit.

    Only the order in which gradients are added may differ, and BatchNorm over few pixels makes a last bit a thousand
    times larger, as much as the CPU at hand likes. So there is one order here: one thread; copies (above), since a
    recomputed part adds its own gradients first; one decoder layer, since the memory of two has three users.
    """
    paddle.base.core.set_num_threads(1)
    sections = {**SMALL, **BACKBONES[backbone],
                "RTDETRTransformer": {**SMALL["RTDETRTransformer"], "num_decoder_layers": 1}}

    def run():
        model = build_detector(**sections).train()
        for part in (getattr(model.backbone, "model", model.backbone), model.neck, model.transformer.decoder):
            assert part.recompute is False
            part.recompute = True
        paddle.seed(1)
        total = model(train_batch(64, 64, 2, num_classes=5))["loss"]
        total.backward()
        statistics = {name: value.numpy() for name, value in model.state_dict().items() if name.endswith("_mean")}
        return float(total), gradients(model), statistics
    again = run()
    monkeypatch.setattr(recompute, "recompute", call_on_copies)
    plain = run()
    assert again[0] == plain[0] and again[1].keys() == plain[1].keys() and len(plain[1]) > 100
    for name, value in {**plain[1], **plain[2]}.items():
        np.testing.assert_array_equal({**again[1], **again[2]}[name], value, err_msg=name)


def test_recompute_is_a_key_of_every_part():
    model = build_detector(**{**SMALL, "ResNet": {**SMALL["ResNet"], "recompute": True},
                              "HybridEncoder": {**SMALL["HybridEncoder"], "recompute": True},
                              "RTDETRTransformer": {**SMALL["RTDETRTransformer"], "recompute": True}})
    assert model.backbone.recompute and model.neck.recompute and model.transformer.decoder.recompute
