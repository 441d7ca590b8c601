# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""convert backbone --to torch: what timm and torchvision load with strict=True, bit for bit."""
import functools
import json
import logging
import sys

import numpy as np
import paddle
import pytest

from ppdet_ext.backbones import create_model
from ppdet_ext.backbones.modules import TimmBackbone, TorchvisionBackbone
from ppdet_ext.errors import UserError
from ppdet_ext.weights import backbone_to_torch, convert_backbone, parity, readers

COUNTER = "num_batches_tracked"


def saved(path, layer, before=""):
    """The layer's weights, each number another, saved by Paddle under names that begin with ``before``."""
    random = np.random.RandomState(0)
    for value in layer.state_dict().values():
        value.set_value(value.numpy() + 0.01 * random.rand(*value.shape).astype(np.float32))
    paddle.save({before + name: value for name, value in layer.state_dict().items()}, str(path))
    return str(path)


def source_model(arch):
    torch = pytest.importorskip("torch", reason="the network that the file is for")
    library, _, name = arch.rpartition("/")
    module = pytest.importorskip(library or "timm", reason="the network that the file is for")
    torch.manual_seed(0)
    model = module.models.get_model(name, weights=None) if library else module.create_model(name)
    with torch.no_grad():  # moved statistics
        model.train()(torch.randn(4, 3, 64, 64))
    return torch, model


@pytest.mark.torch
@pytest.mark.parametrize("arch", ["resnet18", "cspresnet50", "tf_efficientnet_lite0", "torchvision/resnet18"])
def test_there_and_back_is_bit_exact(tmp_path, arch):
    torch, model = source_model(arch)
    torch.save(model.state_dict(), tmp_path / "source.pth")
    net = create_model(arch)
    converted = convert_backbone.convert(net, net.pretrained_cfg, tmp_path / "source.pth")
    convert_backbone.write(*converted, tmp_path / "net.pdparams")
    weights = backbone_to_torch.collect(functools.partial(create_model, arch), tmp_path / "net.pdparams")
    backbone_to_torch.write(weights, tmp_path / "back.safetensors")
    back = pytest.importorskip("safetensors.torch").load_file(tmp_path / "back.safetensors")
    assert weights.checked and set(back) == set(model.state_dict())
    for name, value in model.state_dict().items():
        given = back[name].numpy()
        if name.endswith(COUNTER):  # Paddle does not count
            assert given.dtype == np.int64 and given.shape == () and given == 0
        else:
            assert given.tobytes() == value.numpy().tobytes(), name
    model.load_state_dict(back, strict=True)


def call(tool, monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", "backbone", "--to", "torch", *map(str, args)])
    tool("convert_weights").main()


@pytest.mark.torch
def test_a_detectors_checkpoint_through_the_tool(tmp_path, tool, monkeypatch, capsys, caplog):
    """The backbone is taken out, verified, and described in the header."""
    caplog.set_level(logging.INFO)
    timm = pytest.importorskip("timm", reason="loads the file")
    checkpoint = saved(tmp_path / "best_model.pdparams", TimmBackbone("resnet18"), "backbone.")
    tensors = paddle.load(checkpoint)
    paddle.save({**tensors, "neck.conv.weight": paddle.ones([3])}, checkpoint)
    call(tool, monkeypatch, "--arch", "resnet18", "--checkpoint", checkpoint, "-o", tmp_path / "r.safetensors",
         "--verify")
    shown = capsys.readouterr().out
    assert "timm.create_model('resnet18', num_classes=0), strict=True (tried)" in shown and "layer4" in shown
    assert "the 100 tensors under 'backbone.model.' are taken, the other 1 are not" in caplog.text
    reader = pytest.importorskip("safetensors").safe_open(tmp_path / "r.safetensors", "np")
    header = reader.metadata()
    assert header["format"] == "pt" and header["arch"] == "resnet18" and header["source"] == checkpoint
    assert json.loads(header["mean"]) == [0.485, 0.456, 0.406] and header["license"] and header["tool_version"]
    model = timm.create_model("resnet18", num_classes=0)
    model.load_state_dict(pytest.importorskip("safetensors.torch").load_file(tmp_path / "r.safetensors"), strict=True)
    np.testing.assert_array_equal(model.layer4[1].conv2.weight.detach().numpy(),
                                  tensors["backbone.model.layer4.1.conv2.weight"].numpy())


def test_the_classifiers_size_is_the_checkpoints(tmp_path):
    path = saved(tmp_path / "seven.pdparams", create_model("resnet18", num_classes=7))
    weights = backbone_to_torch.collect(functools.partial(create_model, "resnet18"), path)
    assert weights.call.text == "timm.create_model('resnet18', num_classes=7)"
    assert weights.state["fc.weight"].shape == (7, 512) and weights.state["bn1." + COUNTER].dtype == np.int64


def lite0_backbone(path):
    """A detector's Lite0: no conv_head, bn2, classifier."""
    return saved(path, TimmBackbone("tf_efficientnet_lite0"), "backbone.")


@pytest.mark.torch
def test_features_only_where_timms_names_are_the_same(tmp_path):
    timm = pytest.importorskip("timm", reason="tries the call")
    weights = backbone_to_torch.collect(functools.partial(create_model, "tf_efficientnet_lite0"),
                                lite0_backbone(tmp_path / "w.pdparams"))
    assert weights.call.text == "timm.create_model('tf_efficientnet_lite0', features_only=True)"
    assert set(weights.call.build(timm).state_dict()) == set(weights.state)


def without_torch(monkeypatch):
    monkeypatch.setattr(backbone_to_torch.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "timm", None)


def test_without_torch(tmp_path, monkeypatch):
    without_torch(monkeypatch)
    build = functools.partial(create_model, "resnet18")
    path = saved(tmp_path / "w.pdparams", create_model("resnet18", features_only=True))
    weights = backbone_to_torch.collect(build, path)
    assert not weights.checked and weights.call.text == "timm.create_model('resnet18', num_classes=0)"
    backbone_to_torch.write(weights, tmp_path / "w.safetensors")
    assert "not tried" in backbone_to_torch.summary(weights, "w.safetensors")
    back = readers.read_safetensors(tmp_path / "w.safetensors")
    assert set(back) == set(weights.state) and back["layer1.0.bn1." + COUNTER].shape == ()


def test_what_is_missing_is_named_and_filled(tmp_path, monkeypatch):
    without_torch(monkeypatch)
    path = lite0_backbone(tmp_path / "w.pdparams")
    build = functools.partial(create_model, "tf_efficientnet_lite0")
    with pytest.raises(UserError, match=r"lacks 8 parameters of timm's tf_efficientnet_lite0 \(in "
                       r"conv_head, bn2, classifier\).*--fill hub"):
        backbone_to_torch.collect(build, path)
    fill = saved(tmp_path / "fill.pdparams", create_model("tf_efficientnet_lite0", num_classes=5))
    weights = backbone_to_torch.collect(build, path, fill)
    assert weights.call.text == "timm.create_model('tf_efficientnet_lite0', num_classes=5)"
    assert set(weights.filled) >= {"conv_head.weight", "classifier.bias", "bn2." + COUNTER}
    assert weights.meta["filled_from"] == fill
    assert "filled:" in backbone_to_torch.summary(weights, "w")
    paddle.save({"conv_head.weight": paddle.ones([3, 320, 1, 1])}, fill)
    with pytest.raises(UserError, match=r"--fill .*conv_head.weight \(wanted \[1280, 320, 1, 1\], given \[3, 320, "):
        backbone_to_torch.collect(build, path, fill)


def test_a_cut_backbone_is_filled(tmp_path):
    """out_indices that leave the last stage away."""
    path = saved(tmp_path / "w.pdparams", TimmBackbone("resnet18", out_indices=[2, 3]), "backbone.")
    build = functools.partial(create_model, "resnet18")
    weights = backbone_to_torch.collect(build, path, saved(tmp_path / "fill.pdparams", build()))
    assert {name.partition(".")[0] for name in weights.filled} == {"layer4", "fc"}


@pytest.mark.torch
def test_torchvision_without_its_classifier(tmp_path):
    torchvision = pytest.importorskip("torchvision", reason="loads the weights")
    torch = pytest.importorskip("torch", reason="loads the weights")
    path = saved(tmp_path / "w.pdparams", TorchvisionBackbone("resnet18"), "backbone.")
    weights = backbone_to_torch.collect(functools.partial(create_model, "torchvision/resnet18"), path)
    assert weights.call.text == ("model = torchvision.models.get_model('resnet18') with model.fc = torch.nn.Identity()")
    tensors = {name: torch.from_numpy(value) for name, value in weights.state.items()}
    weights.call.build(torchvision).load_state_dict(tensors, strict=True)
    parity.check(backbone_to_torch.verify(weights))


def test_half_weights_come_out_as_float32(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    net = create_model("resnet18")
    paddle.save({name: value.numpy().astype(np.float16) for name, value in net.state_dict().items()},
                str(tmp_path / "half.pdparams"))
    weights = backbone_to_torch.collect(functools.partial(create_model, "resnet18"), tmp_path / "half.pdparams")
    assert {value.dtype for value in weights.state.values()} == {np.dtype(np.float32), np.dtype(np.int64)}
    assert "102 tensors are float16; widened to float32" in caplog.text


@pytest.mark.parametrize("arch, before, message", [
    ("resnet34", "", "lacks|not for resnet34|does not fit"),
    ("resnet18", "other.", r"holds nothing of resnet18: its names are other\."),
])
def test_weights_of_another_network(tmp_path, arch, before, message):
    path = saved(tmp_path / "w.pdparams", create_model("resnet50" if not before else "resnet18"), before)
    with pytest.raises(UserError, match=message):
        backbone_to_torch.collect(functools.partial(create_model, arch), path)


@pytest.mark.parametrize("args, message", [
    (["-o", "x.pth"], "should end in .safetensors"),
    ([], "needs --checkpoint FILE"),
    (["--checkpoint", "w.safetensors"], "is a torch file already"),
])
def test_wrong_arguments(tmp_path, tool, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("safetensors.numpy").save_file({"w": np.ones(3, np.float32)}, "w.safetensors")
    with pytest.raises(UserError, match=message):
        call(tool, monkeypatch, "--arch", "resnet18", *args)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
