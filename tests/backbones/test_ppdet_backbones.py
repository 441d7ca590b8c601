# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The backbones under PaddleDetection's names, small: what is frozen, rates, sizes, and FocalNet against timm's."""
import re

import numpy as np
import paddle
import pytest

from ppdet_ext import UserError
from ppdet_ext.backbones.ppdet import common, ppdet_focalnet, ppdet_hgnetv2, ppdet_swin
from ppdet_ext.nn import recomputed
from ppdet_ext.registry.weights_wanted import without_pretrained
from ppdet_ext.weights import relative_error

PPHGNetV2, SwinTransformer, FocalNet = ppdet_hgnetv2.PPHGNetV2, ppdet_swin.SwinTransformer, ppdet_focalnet.FocalNet

SMALL_SWIN = dict(embed_dim=8, depths=[2, 1, 1, 2], num_heads=[1, 2, 2, 4], window_size=4)
SMALL_FOCAL = dict(dim=8, depths=[1, 2, 1, 1], drop_path_rate=0.1, url="")


@pytest.fixture
def focalnet(monkeypatch):
    """A FocalNet of eight channels with the switches of some arch."""
    def make(arch, **settings):
        monkeypatch.setitem(ppdet_focalnet.ARCHS, arch, {**ppdet_focalnet.ARCHS[arch], **SMALL_FOCAL})
        return FocalNet(arch, **settings)
    return make


def image(height=64, width=64):
    return paddle.to_tensor(np.random.default_rng(1).standard_normal((2, 3, height, width)).astype("float32"))


def randomise(layer):
    """Values that no start has, so that nothing cancels or is one."""
    rng = np.random.default_rng(2)
    for name, parameter in layer.named_parameters():
        centre = float(parameter.ndim == 1 and not name.endswith("bias"))
        parameter.set_value((centre + 0.3 * rng.standard_normal(parameter.shape)).astype("float32"))


class TestHGNet:
    def test_rates_and_frozen_parts(self):
        net = PPHGNetV2("S", use_lab=True, lr_mult_list=[0.0, 0.1, 0.2, 0.3, 0.4], freeze_at=1, freeze_stem_only=False)
        rates = {name: p.optimize_attr["learning_rate"] for name, p in net.named_parameters()}
        assert rates["stem.stem1.conv.weight"] == 0.0 and rates["stages.3.blocks.0.layers.0.conv1.conv.weight"] == 0.4
        assert rates["stages.1.blocks.0.layers.0.lab.scale"] == pytest.approx(0.01 * 0.2)
        learning = {name[:len("stages.1")] for name, p in net.named_parameters() if not p.stop_gradient}
        assert learning == {"stages.2", "stages.3"}
        assert not [name for name, p in net.named_parameters() if ".bn." in name and not p.stop_gradient]

    @pytest.mark.parametrize("freeze_norm", [True, False])
    def test_statistics_move_unless_frozen(self, freeze_norm):
        net = PPHGNetV2("S", freeze_norm=freeze_norm)
        before = net.stages[3].blocks[0].aggregation_squeeze_conv.bn._mean.numpy()
        net.train()
        net(image())
        after = net.stages[3].blocks[0].aggregation_squeeze_conv.bn._mean.numpy()
        assert (before == after).all() == freeze_norm

    def test_pooling_leaves_the_border_out(self):
        stem = PPHGNetV2("S", use_lab=True).stem
        assert (stem.pooled(paddle.full([1, 1, 2, 2], -1.0)) == -1.0).all()

    def test_features_are_what_out_shape_says(self):
        net = PPHGNetV2("S", return_idx=[0, 3])
        shapes = [feature.shape[1:] for feature in net({"image": image()})]
        assert shapes == [[s.channels, 64 // s.stride, 64 // s.stride] for s in net.out_shape]

    def test_five_rates(self):
        with pytest.raises(UserError, match="five factors"):
            PPHGNetV2("S", lr_mult_list=[1.0] * 4)


class TestSwin:
    def test_given_sizes_win_over_the_arch(self):
        net = SwinTransformer(out_indices=[1, 3], ape=True, patch_norm=False, **SMALL_SWIN)
        assert [(s.channels, s.stride) for s in net.out_shape] == [(16, 8), (64, 32)]
        net.eval()
        # the map of 18 x 16 patches is no multiple of the window, and 9 rows cannot be paired
        assert [feature.shape[1:] for feature in net({"image": image(72, 64)})] == [[16, 9, 8], [64, 3, 2]]
        assert net.absolute_pos_embed.shape == [1, 8, 56, 56]

    def test_padding_comes_before_rolling(self):
        """In a map of 5 x 5, window 4, shift 2, the roll brings rows from the padded border of eight."""
        block = ppdet_swin.PaddedBlock(4, 1, 4, 2, 0.0)
        block.norm1 = paddle.nn.Identity()
        x = paddle.rand([1, 5, 5, 4])
        padded = paddle.nn.functional.pad(x.transpose([0, 3, 1, 2]), [0, 3, 0, 3]).transpose([0, 2, 3, 1])
        seen = []

        class Attention(paddle.nn.Layer):
            def forward(self, windows, mask):
                seen.append(windows)
                return windows

        block.attn = Attention()
        out = block(x)
        first = paddle.roll(padded, [-2, -2], [1, 2])[0, :4, :4].reshape([16, 4])
        assert (seen[0][0, 0] == first).all()
        doubled = 2 * x  # the map and its way through the windows and back
        assert (out == doubled + block.mlp(block.norm2(doubled))).all()

    def test_frozen_stages(self):
        net = SwinTransformer(frozen_stages=2, ape=True, **SMALL_SWIN)
        frozen = {name[:8] if name.startswith("layers") else name.partition(".")[0]
                  for name, p in net.named_parameters() if p.stop_gradient}
        assert frozen == {"patch_embed", "absolute_pos_embed", "layers.0"}


@pytest.mark.parametrize("make", [
    lambda **settings: SwinTransformer(drop_path_rate=0.0, **SMALL_SWIN, **settings),
    lambda **settings: ppdet_focalnet.FocalNet("focalnet_T_224_1k_srf", drop_path_rate=0.0, **settings),
    lambda use_checkpoint=False: ppdet_hgnetv2.PPHGNetV2("S", freeze_at=-1, freeze_norm=False,
                                                         recompute=use_checkpoint)],
    ids=["swin", "focalnet", "hgnetv2"])
def test_recomputing_changes_nothing(make, monkeypatch):
    monkeypatch.setitem(ppdet_focalnet.ARCHS, "focalnet_T_224_1k_srf",
                        {**ppdet_focalnet.ARCHS["focalnet_T_224_1k_srf"], **SMALL_FOCAL})
    calls = []
    for module in (common, ppdet_hgnetv2):
        monkeypatch.setattr(module, "recomputed", lambda *args: calls.append(1) or recomputed(*args))
    plain, saving = make(), make(use_checkpoint=True)
    randomise(plain)
    saving.set_state_dict(plain.state_dict())
    gradients = []
    for net in (plain, saving):
        net.train()
        sum(feature.sum() for feature in net(image())).backward()
        gradients.append(np.concatenate([p.grad.numpy().ravel() for p in net.parameters() if p.grad is not None]))
    assert relative_error(*gradients) <= 1e-5 and calls


@pytest.mark.torch
@pytest.mark.parametrize("arch", ["focalnet_T_224_1k_lrf", "focalnet_L_384_22k_fl4", "focalnet_H_224_22k_fl3"])
def test_focalnet_equals_timm_s(focalnet, arch):
    """In float64: LayerNorm over eight channels makes much of float32's rounding."""
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    ours = focalnet(arch)
    randomise(ours)
    known = ppdet_focalnet.ARCHS[arch]
    levels, switches = known["levels"], {key: known.get(key, False) for key in ppdet_focalnet.SWITCHES}
    theirs = timm.models.focalnet.FocalNet(
        embed_dim=8, depths=SMALL_FOCAL["depths"], focal_levels=(levels,) * 4, focal_windows=(known["window"],) * 4,
        use_overlap_down=known.get("conv_embed", False), use_post_norm=switches["post_norm"],
        use_post_norm_in_modulation=switches["norm_in_modulation"], normalize_modulator=switches["mean_of_levels"],
        layerscale_value=1e-4 if switches["layer_scale"] else None, num_classes=0)
    weights = {name: torch.from_numpy(value) for name, value in to_timm(ours, switches["post_norm"]).items()}
    wanted = theirs.state_dict()
    theirs.load_state_dict({name: value.reshape(wanted[name].shape) for name, value in weights.items()}, strict=False)
    assert set(weights) == {name for name in wanted if not name.startswith(("norm.", "head."))}

    ours.eval()
    ours.to(dtype="float64")
    theirs.eval().double()
    picture = image(64, 96).astype("float64")
    with torch.no_grad():
        maps = theirs.forward_intermediates(torch.from_numpy(picture.numpy()), intermediates_only=True)
    for index, (have, want) in enumerate(zip(ours(picture), maps)):
        norm = getattr(ours, f"norm{index}")
        want = norm(paddle.to_tensor(want.numpy()).transpose([0, 2, 3, 1])).transpose([0, 3, 1, 2])
        assert relative_error(have.numpy(), want.numpy()) <= 1e-10


def to_timm(net, post_norm):
    """{timm's name: array} of all but the norms of features. timm's layers are 1x1 convolutions."""
    linear = {f"{path}.weight" for path, layer in net.named_sublayers() if isinstance(layer, paddle.nn.Linear)}
    named = {}
    for name, value in net.state_dict().items():
        if re.match(r"norm\d", name):
            continue
        array = value.numpy().T if name in linear else value.numpy()
        name = re.sub(r"^patch_embed", "stem", name)
        name = re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)
        name = re.sub(r"gamma_(\d)", r"ls\1.gamma", name)
        name = name.replace("modulation.ln", "modulation.norm")
        if post_norm and "blocks" in name:
            name = re.sub(r"\.norm(\d)\.", r".norm\1_post.", name)
        named[name] = np.ascontiguousarray(array)
    return named


@pytest.mark.parametrize("make", [PPHGNetV2, SwinTransformer, FocalNet])
def test_an_unknown_arch_names_the_nearest(make):
    near = {PPHGNetV2: "XX", SwinTransformer: "swin_L", FocalNet: "focalnet_L"}[make]
    with pytest.raises(UserError, match=f"there is no arch '{near}'; .*(X|384)"):
        make(near)


class TestPretrained:
    def test_a_classifier_s_weights_fill_all_but_the_feature_norms(self, tmp_path):
        source, path = SwinTransformer(**SMALL_SWIN), tmp_path / "swin.pdparams"
        randomise(source)
        state = {name: value for name, value in source.state_dict().items() if not name.startswith("norm")}
        paddle.save({**state, "head.weight": paddle.ones([64, 10])}, str(path))
        net = SwinTransformer(pretrained=str(path), **SMALL_SWIN)
        assert all((net.state_dict()[name] == value).all() for name, value in state.items())
        assert (net.norm1.weight == 1).all()
        with without_pretrained():
            SwinTransformer(pretrained="nowhere.pdparams", **SMALL_SWIN)

    def test_weights_that_lack_something(self, tmp_path):
        net = SwinTransformer(**SMALL_SWIN)
        state = {name: value for name, value in net.state_dict().items() if "qkv.bias" not in name}
        paddle.save(state, str(tmp_path / "swin.pdparams"))
        with pytest.raises(UserError, match="missing: .*qkv.bias"):
            SwinTransformer(pretrained=str(tmp_path / "swin.pdparams"), **SMALL_SWIN)
