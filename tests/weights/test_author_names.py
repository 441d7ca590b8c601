# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Checkpoints in their authors' own names: our tables say what timm's functions and transformers' networks say."""
import logging
import re

import numpy as np
import pytest

from ppdet_ext.backbones import create_model
from ppdet_ext.errors import UserError
from ppdet_ext.weights import author_names, load_pretrained, pretrained_weights, timm_renaming
from ppdet_ext.weights.layout_rules import known_names

# arch -> (timm's names to the authors', in order; what else their file holds), to make a file from timm's network
RELEASES = {
    "swin_tiny_patch4_window7_224": (
        [(r"layers\.1\.downsample", "layers.0.downsample"), (r"layers\.2\.downsample", "layers.1.downsample"),
         (r"layers\.3\.downsample", "layers.2.downsample"), (r"head\.fc\.", "head.")],
        {"layers.0.blocks.0.attn.relative_position_index": (49, 49), "layers.0.blocks.1.attn_mask": (4, 49, 49)}),
    "convnextv2_atto": (
        [(r"^stem\.", "downsample_layers.0."), (r"stages\.(\d)\.downsample\.(\d)", r"downsample_layers.\1.\2"),
         (r"stages\.(\d)\.blocks\.(\d)", r"stages.\1.\2"), ("conv_dw", "dwconv"), (r"mlp\.fc", "pwconv"),
         (r"mlp\.grn\.weight", "grn.gamma"), (r"mlp\.grn\.bias", "grn.beta"), (r"head\.norm\.", "norm."),
         (r"head\.fc\.", "head.")], {}),
    "vit_small_patch14_reg4_dinov2": ([("reg_token", "register_tokens")], {"mask_token": (1, 384)}),
}


def release(arch):
    """An authors' file of an arch, as ``{name: array}``, made from timm's network."""
    torch = pytest.importorskip("torch", reason="makes the weights")
    timm = pytest.importorskip("timm", reason="makes the weights")
    rows, more = RELEASES[arch]
    torch.manual_seed(0)
    state = {}
    for name, value in timm.create_model(arch).state_dict().items():
        for pattern, replacement in rows:
            name = re.sub(pattern, replacement, name)
        value = value.numpy()
        state[name] = value.reshape(1, 1, 1, -1) if "grn" in name else value
    if "register_tokens" in state:
        state["pos_embed"] = np.concatenate([np.ones((1, 1, 384), "float32"), state["pos_embed"]], 1)
    return {**state, **{name: np.zeros(shape, "float32") for name, shape in more.items()}}


@pytest.mark.torch
@pytest.mark.parametrize("arch", [*list(RELEASES)[1:], pytest.param(next(iter(RELEASES)), marks=pytest.mark.slow)])
def test_a_table_gives_what_timms_own_function_gives(arch):
    import timm
    state = release(arch)
    wanted = timm_renaming.rename(state, arch, timm.get_pretrained_cfg(arch).num_classes)
    model = timm.create_model(arch)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = author_names.in_shape(author_names.TABLES[author_names.find(state, set(shapes))].rename(state), shapes)
    assert set(found) == set(wanted) == set(shapes)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.torch
@pytest.mark.parametrize("tables", [True, False])
def test_a_network_is_filled_by_a_table_or_else_by_timm(tmp_path, monkeypatch, caplog, tables):
    torch = pytest.importorskip("torch", reason="saves the file")
    state = release("convnextv2_atto")
    torch.save({"model": {name: torch.from_numpy(value) for name, value in state.items()}}, tmp_path / "x.pth")
    if not tables:
        monkeypatch.setattr(author_names, "TABLES", {})
    monkeypatch.setenv("PPDET_EXT_HOME", str(tmp_path))
    net = create_model("convnextv2_atto", features_only=True)
    with caplog.at_level(logging.INFO):
        load_pretrained(net, net.pretrained_cfg, str(tmp_path / "x.pth"))
    assert ("those of ConvNeXt's authors" if tables else "timm's own function") in caplog.text
    gammas = [name for name in net.state_dict() if name.endswith("grn.weight")]
    own = net.state_dict()
    for name in ("stages.1.blocks.0.conv_dw.weight", "stages.3.downsample.1.weight", gammas[0]):
        authors = next(key for key, new in author_names.AuthorNames(RENAMED).names(state).items() if new == name)
        np.testing.assert_array_equal(own[name].numpy().ravel(), state[authors].ravel())


RENAMED = author_names.TABLES["ConvNeXt's authors"].rows


@pytest.mark.torch
def test_names_that_nobody_knows(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="saves the file")
    torch.save({f"their.{number}.weight": torch.ones(3) for number in range(9)}, tmp_path / "x.pth")
    net = create_model("convnextv2_atto", features_only=True)
    with pytest.raises(UserError, match="neither a table here nor timm knows these names.*hf-hub:timm/convnextv2_atto"):
        load_pretrained(net, net.pretrained_cfg, str(tmp_path / "x.pth"))
    monkeypatch.setattr(timm_renaming, "at_hand", lambda: False)
    with pytest.raises(UserError, match=r"its authors' names: timm.*pip install 'ppdet-ext\[torch\]'"):
        load_pretrained(net, net.pretrained_cfg, str(tmp_path / "x.pth"))


@pytest.mark.parametrize("arch", ["resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_timms_own_names_are_left_alone(arch):
    net = create_model(arch)
    names = {name: np.zeros(1) for name in pretrained_weights.layout_rules.torch_names(net)}
    assert author_names.find(names, known_names(net)) == ""
    assert author_names.find({**names, "something.else": np.zeros(1)}, known_names(net)) == ""


def test_scales_of_layers():
    """timm gives its function one more setting for DeiT III, so that the network itself is the witness here."""
    net = create_model("deit3_small_patch16_224")
    own = pretrained_weights.layout_rules.torch_names(net)
    state = {re.sub(r"\.ls(\d)\.gamma", r".gamma_\1", name): np.zeros(1) for name in own}
    assert "blocks.0.gamma_1" in state
    assert set(author_names.TABLES[author_names.find(state, known_names(net))].rename(state)) == set(own)


def test_what_lies_beside_an_encoder_is_left_out():
    net = create_model("vit_tiny_patch16_224", num_classes=0)
    own = {name: np.zeros(1) for name in pretrained_weights.layout_rules.torch_names(net)}
    state = {**own, "mask_token": np.zeros(1), "decoder_embed.weight": np.zeros(1)}
    title = author_names.find(state, known_names(net))
    assert title == "MAE's authors" and set(author_names.TABLES[title].rename(state)) == set(own)


@pytest.mark.torch
@pytest.mark.parametrize("kind, depths, arch", [
    ("basic", [2, 2, 2, 2], "resnet18"), pytest.param("bottleneck", [3, 4, 6, 3], "resnet50", marks=pytest.mark.slow)])
def test_transformers_resnet_computes_the_same(tmp_path, kind, depths, arch):
    import paddle
    torch = pytest.importorskip("torch", reason="makes the network")
    transformers = pytest.importorskip("transformers", reason="makes the network")
    widths = [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048]
    torch.manual_seed(0)
    theirs = transformers.ResNetModel(transformers.ResNetConfig(
        depths=depths, hidden_sizes=widths, layer_type=kind)).eval()
    theirs.save_pretrained(tmp_path)
    net = create_model(arch, num_classes=0)
    load_pretrained(net, net.pretrained_cfg, str(tmp_path))
    image = np.random.RandomState(0).randn(1, 3, 64, 64).astype("float32")
    net.eval()
    with torch.no_grad(), paddle.no_grad():
        wanted = theirs(torch.from_numpy(image)).last_hidden_state.numpy()
        found = net.forward_intermediates(paddle.to_tensor(image))[-1].numpy()
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()
