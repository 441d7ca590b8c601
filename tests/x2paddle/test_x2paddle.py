# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""x2paddle itself, in an environment of its own: a small network through both of its formats."""
import subprocess

import pytest
from support.environments import other_python

from ppdet_ext.x2paddle import convert_model

# setup.py's extra x2paddle, without the rest of this package
PACKAGES = ("x2paddle==1.6.0", "six", "requests", "astor", "treelib", "pandas", "onnx<1.19", "onnxruntime",
            "paddlepaddle==3.3.1", "torch==2.14.1", "numpy<1.24", "setuptools<81")
EXPORT = """
import sys, torch
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
                          torch.nn.MaxPool2d(3, 2, 1), torch.nn.Conv2d(8, 4, 1)).eval()
image = torch.randn(1, 3, 32, 32)
torch.jit.trace(net, image).save(sys.argv[1] + "/net.pt")
torch.onnx.export(net, image, sys.argv[1] + "/net.onnx", dynamo=False, opset_version=13)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.pt", "net.onnx"])
def test_x2paddle_itself(tmp_path, name):
    python = other_python("x2paddle", PACKAGES)
    subprocess.run([python, "-W", "ignore", "-c", EXPORT, str(tmp_path)], check=True, timeout=300)
    outcome = convert_model.convert(tmp_path / name, tmp_path / "out", [(1, 3, 32, 32)], python)
    print(convert_model.summary(outcome, tmp_path / "out"))
    assert (tmp_path / "out" / "model.pdparams").is_file() and outcome.rows[0].error < 1e-5
