# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Native networks exported once, run at several sizes by Paddle Inference, with and without oneDNN."""
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppdet_ext.backbones import create_model, list_models

REPRESENTATIVE = ["tf_efficientnet_lite0", "cspresnet50", "resnet18d"]
ARCHS = [name if name in REPRESENTATIVE else pytest.param(name, marks=pytest.mark.slow)
         for name in list_models(source="timm")]


def predictor(prefix, onednn):
    program = next(path for path in (f"{prefix}.json", f"{prefix}.pdmodel") if Path(path).exists())
    config = paddle.inference.Config(program, f"{prefix}.pdiparams")
    config.disable_glog_info()
    config.enable_mkldnn() if onednn else getattr(config, "disable_mkldnn", lambda: None)()
    return paddle.inference.create_predictor(config)


@pytest.mark.parametrize("name", ARCHS)
def test_exported_features_are_the_same_at_any_size(name, tmp_path):
    net = create_model(name, features_only=True)
    net.eval()
    pictures = [np.random.RandomState(0).randn(batch, 3, *size).astype("float32")
                for batch, size in [(1, (96, 96)), (2, (97, 131))]]
    with paddle.no_grad():
        wanted = [[feature.numpy() for feature in net(paddle.to_tensor(x))] for x in pictures]
    prefix = str(tmp_path / "net")
    spec = [paddle.static.InputSpec([None, 3, None, None], "float32", name="image")]
    paddle.jit.save(paddle.jit.to_static(net, input_spec=spec, full_graph=True), prefix)
    for onednn in (False, True):
        runner = predictor(prefix, onednn)
        for x, features in zip(pictures, wanted):
            runner.get_input_handle("image").copy_from_cpu(x)
            runner.run()
            got = [runner.get_output_handle(out).copy_to_cpu() for out in runner.get_output_names()]
            assert len(got) == len(features)
            for one, other in zip(got, features):
                assert abs(one - other).max() <= 1e-4 * abs(other).max()
