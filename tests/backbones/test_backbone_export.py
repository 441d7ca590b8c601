# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Native networks exported once, run at several sizes by Paddle Inference, with and without oneDNN."""
from pathlib import Path

import numpy as np
import paddle
import pytest
from support import native_cases

from ppdet_ext.backbones import create_model
from ppdet_ext.weights.parity import relative_error

REPRESENTATIVE = native_cases.representatives(source="timm")


def predictor(prefix, onednn):
    program = next(path for path in (f"{prefix}.json", f"{prefix}.pdmodel") if Path(path).exists())
    config = paddle.inference.Config(program, f"{prefix}.pdiparams")
    config.disable_glog_info()
    config.enable_mkldnn() if onednn else getattr(config, "disable_mkldnn", lambda: None)()
    return paddle.inference.create_predictor(config)


def network(name):
    """Trainable vectors away from their start (a layer scale of 1e-6 or a norm of 0 hides its branch), and BatchNorm
    statistics half measured: with random ones alone, rounding grows from layer to layer (7e-3 in efficientnetv2_rw_s).
    """
    net = create_model(name, features_only=True)
    for parameter in net.parameters():
        if parameter.ndim == 1 and not parameter.stop_gradient:
            parameter.set_value(parameter + paddle.normal(0.0, 0.2, parameter.shape))
    norms = [layer for layer in net.sublayers() if isinstance(layer, paddle.nn.BatchNorm2D)]
    for norm in norms:
        norm._momentum = 0.5
    if norms:
        net.train()
        net(paddle.to_tensor(picture(2, 96, 96)))
    net.eval()
    return net


def picture(batch, *size):
    return np.random.RandomState(0).randn(batch, 3, *size).astype("float32")


def assert_exported_features(net, shape, pictures, folder, backends=(False, True)):
    """Exported with ``shape`` for input, the network gives the features it gives now; with oneDNN where True."""
    with paddle.no_grad():
        wanted = [[feature.numpy() for feature in net(paddle.to_tensor(x))] for x in pictures]
    prefix = str(folder / "net")
    spec = [paddle.static.InputSpec(shape, "float32", name="image")]
    paddle.jit.save(paddle.jit.to_static(net, input_spec=spec, full_graph=True), prefix)
    for onednn in backends:
        runner = predictor(prefix, onednn)
        for x, features in zip(pictures, wanted):
            runner.get_input_handle("image").copy_from_cpu(x)
            runner.run()
            got = [runner.get_output_handle(out).copy_to_cpu() for out in runner.get_output_names()]
            assert len(got) == len(features)
            assert max(relative_error(one, other) for one, other in zip(got, features)) <= 1e-4


@pytest.mark.parametrize("name", native_cases.cheaper(REPRESENTATIVE))
def test_exported_features_are_the_same_at_any_size(name, tmp_path):
    pictures = [picture(1, 96, 96), picture(2, 97, 131)]
    assert_exported_features(network(name), [None, 3, None, None], pictures, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", native_cases.others(source="timm"))
def test_exported_features_of_the_rest(name, tmp_path):
    """oneDNN alone: without it, the kernels are those of the dynamic graph."""
    assert_exported_features(network(name), [None, 3, None, None], [picture(1, 67, 101)], tmp_path, backends=(True,))


@pytest.mark.parametrize("name", native_cases.cheaper(REPRESENTATIVE))
def test_exported_features_are_the_same_at_a_fixed_size(name, tmp_path):
    """Paddle chooses other kernels and works in place where it knows the sizes."""
    assert_exported_features(network(name), [None, 3, 96, 128], [picture(2, 96, 128)], tmp_path)
