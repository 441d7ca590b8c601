# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The native networks' interface: names, features, settings, stages, bad input."""
import numpy as np
import paddle
import pytest

from ppdet_ext.backbones import create_model, list_models, model_entry, register_model, resolve, split_tag, take_indices
from ppdet_ext.backbones.model_registry import _ENTRIES
from ppdet_ext.errors import UserError
from ppdet_ext.weights import pretrained_weights

FAMILY_HEADS = ["tf_efficientnet_lite0", "cspresnet50", "resnet18d"]


def trainable(net):
    """{name: parameter}; Paddle counts BatchNorm statistics among the parameters."""
    return {name: parameter for name, parameter in net.named_parameters() if not parameter.stop_gradient}


def image(height=64, width=96, channels=3, batch=2):
    return paddle.to_tensor(np.random.RandomState(0).randn(batch, channels, height, width).astype("float32"))


def test_names_are_listed_by_source_family_and_pattern():
    assert len(list_models(source="timm")) == 101
    assert list_models(family="cspnet") == ["cspdarknet53", "cspresnet50", "cspresnet50d", "cspresnet50w",
                                            "cspresnext50"]
    assert "torchvision/resnet50" in list_models("torchvision/*", source="torchvision")
    assert "resnet50.a1_in1k" in list_models("resnet50.*", pretrained=True)
    assert not any(name.startswith("cspresnet50d.") for name in list_models(pretrained=True))  # nobody trained it


def test_tags_choose_the_pretrained_cfg():
    assert split_tag("resnet50.a1_in1k") == ("resnet50", "a1_in1k")
    assert resolve(model_entry("tf_efficientnet_lite0")).mean == (0.5, 0.5, 0.5)
    assert resolve(model_entry("resnet50"), "tv_in1k").license == "bsd-3-clause"
    net = create_model("resnet18.fb_swsl_ig1b_ft_in1k", features_only=True)
    assert net.pretrained_cfg.hf_hub_id == "timm/resnet18.fb_swsl_ig1b_ft_in1k"
    assert net.pretrained_cfg.license == "cc-by-nc-4.0"


@pytest.mark.torch
@pytest.mark.parametrize("name", list_models())
def test_manifest_says_what_timm_says(name):
    reason = "the manifest is compared with timm's own tables"
    if name.startswith("torchvision/"):
        models = pytest.importorskip("torchvision", reason=reason).models
        weights = models.get_model_weights(name.split("/")[1])
        entry = model_entry(name)
        assert (entry.default_tag, set(entry.pretrained_cfgs)) == (weights.DEFAULT.name, {one.name for one in weights})
        assert all(entry.pretrained_cfgs[one.name].url == one.url for one in weights)
        return
    timm = pytest.importorskip("timm", reason=reason)
    entry = model_entry(name)
    assert entry.default_tag == timm.models.get_pretrained_cfg(name).tag
    for tag, cfg in entry.pretrained_cfgs.items():
        theirs = timm.models.get_pretrained_cfg(f"{name}.{tag}")
        for key in ("hf_hub_id", "url", "license", "input_size", "test_input_size", "mean", "std", "interpolation",
                    "crop_pct", "test_crop_pct", "num_classes", "first_conv", "classifier"):
            assert (getattr(cfg, key) or None) == (getattr(theirs, key) or None), (tag, key)


@pytest.mark.parametrize("name", FAMILY_HEADS + ["cspdarknet53"])
def test_features_have_the_channels_and_strides_that_feature_info_says(name):
    net = create_model(name, features_only=True)
    net.eval()
    features = net(image())
    assert [feature.shape[1] for feature in features] == net.feature_info.channels()
    for feature, reduction in zip(features, net.feature_info.reduction()):
        assert feature.shape[2:] == [64 // reduction, 96 // reduction]


@pytest.mark.parametrize("indices, wanted", [(None, (0, 1, 2, 3, 4)), (2, (3, 4)), ((-3, -2), (2, 3)), ([1], (1,))])
def test_out_indices_are_read_as_timm_reads_them(indices, wanted):
    assert take_indices(5, indices) == wanted


@pytest.mark.parametrize("indices", [(5,), (-6,), (), 0, 6, (2, 1), (1, 1)])
def test_out_indices_that_do_not_fit_are_refused(indices):
    with pytest.raises(UserError, match="out_indices"):
        take_indices(5, indices)


@pytest.mark.parametrize("name", FAMILY_HEADS)
def test_feature_networks_hold_only_parameters_that_their_features_use(name):
    full = create_model(name)
    for out_indices in [None, (1, 2)]:
        net = create_model(name, features_only=True, out_indices=out_indices)
        sum(feature.mean() for feature in net(image())).backward()
        assert all(parameter.grad is not None for parameter in trainable(net).values())
        absent = set(full.state_dict()) - set(net.state_dict())
        assert absent == {key for key in full.state_dict() if key.startswith(net.unused_prefixes)}
        assert set(net.state_dict()) <= set(full.state_dict())


@pytest.mark.parametrize("name", FAMILY_HEADS + ["cspdarknet53"])
def test_stages_hold_every_parameter_once_and_begin_with_the_stem(name):
    net = create_model(name, features_only=True)
    stages = net.stage_layers()
    assert len(stages) == 5
    ids = [id(parameter) for layers in stages for layer in layers for parameter in layer.parameters()]
    assert sorted(ids) == sorted(id(parameter) for parameter in net.parameters())
    stem = {id(parameter) for layer in stages[0] for parameter in layer.parameters()}
    assert id(next(iter(net.parameters()))) in stem


@pytest.mark.parametrize("name", FAMILY_HEADS)
def test_recompute_changes_no_number(name):
    nets = [create_model(name, features_only=True, drop_path_rate=0.3, **{} if "eff" in name else {
        "zero_init_last": False}) for _ in range(2)]
    nets[1].set_state_dict(nets[0].state_dict())
    nets[1].recompute = True
    x, results = image(), []
    for net in nets:
        paddle.seed(1)
        features = net(x)
        sum((feature * feature).mean() for feature in features).backward()
        results.append(features[-1].numpy())
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-6)
    plain, recomputed = trainable(nets[0]), trainable(nets[1])
    for key, parameter in plain.items():
        wanted, got = parameter.grad.numpy(), recomputed[key].grad.numpy()
        assert abs(got - wanted).max() <= 1e-3 * abs(wanted).max() + 1e-7, key
    for key, value in nets[0].state_dict().items():  # BatchNorm statistics moved once, not twice
        np.testing.assert_allclose(nets[1].state_dict()[key].numpy(), value.numpy(), rtol=1e-4, atol=1e-5, err_msg=key)


def test_recompute_after_a_frozen_stem_keeps_gradients():
    net = create_model("resnet18", features_only=True)
    net.recompute = True
    for layer in net.stage_layers()[0]:
        for parameter in layer.parameters():
            parameter.stop_gradient = True
    net(image())[-1].mean().backward()
    assert net.layer1[0].conv1.weight.grad is not None


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    from ppdet_ext.nn import DropPath
    paddle.seed(0)
    layer, x = DropPath(0.25), paddle.ones([4000, 2, 1, 1])
    y = layer(x).numpy().reshape(4000, 2)
    assert set(np.unique(y.round(4))) == {0.0, np.float32(1.3333)}
    assert (y[:, 0] == y[:, 1]).all()
    assert abs(y.mean() - 1.0) < 0.05
    layer.eval()
    assert (layer(x).numpy() == 1.0).all()


def test_other_channels_classes_and_pooling():
    net = create_model("resnet18", in_chans=1, num_classes=7, pool="max")
    assert net(image(channels=1)).shape == [2, 7]
    headless = create_model("resnet18", num_classes=0)
    assert headless(image()).shape == [2, 512]
    assert headless.unused_prefixes == ("fc.",)
    assert not create_model("resnet50.bamboo", in_chans=4).num_classes  # those weights have no classifier


def test_checkpoints_go_through_the_bridge(monkeypatch):
    calls = []
    monkeypatch.setattr(pretrained_weights, "load_pretrained",
                        lambda *args, **kwargs: calls.append((args, kwargs)) or "report")
    net = create_model("resnet18.a1_in1k", pretrained=True, in_chans=4, num_classes=9)
    assert net.load_report == "report"
    (layer, cfg, spec), settings = calls[0]
    assert (layer, cfg.name, spec) == (net, "resnet18.a1_in1k", True)
    assert settings == {"in_chans": 4, "allow": ("fc.*",)}
    create_model("resnet18", checkpoint_path="mine.pdparams")
    assert (calls[1][0][2], calls[1][1]["allow"]) == ("mine.pdparams", ())


def test_torch_state_round_trips_through_create_model(tmp_path):
    """The bridge and the networks fit together: a file with timm's names fills a feature network, head dropped."""
    full = create_model("resnet18")
    path = str(tmp_path / "mine.pdparams")
    paddle.save(full.state_dict(), path)
    net = create_model("resnet18", features_only=True, checkpoint_path=path, in_chans=1)
    assert set(net.load_report.unused) == {"fc.weight", "fc.bias"}
    np.testing.assert_allclose(net.conv1.weight.numpy(), full.conv1.weight.numpy().sum(1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("name, message", [
    ("cspresnet5", "unknown arch 'cspresnet5'; did you mean cspresnet50"),
    ("resnet50.a1_in2k", "'resnet50' has no tag 'a1_in2k'; did you mean a1_in1k"),
])
def test_unknown_names_offer_the_nearest(name, message):
    with pytest.raises(UserError, match=message):
        create_model(name)


def test_unknown_settings_and_taken_names_are_refused():
    with pytest.raises(UserError, match="'resnet18' has no setting 'drop_rat'; did you mean drop_rate"):
        create_model("resnet18", drop_rat=0.1)
    with pytest.raises(UserError, match="global_pool"):
        create_model("resnet18", pool="average")
    with pytest.raises(UserError, match="taken"):
        register_model("resnet18")(lambda **settings: None)


def test_own_builders_are_registered(monkeypatch):
    monkeypatch.setattr("ppdet_ext.backbones.model_registry._ENTRIES", dict(_ENTRIES))
    register_model("tiny")(lambda **settings: create_model("resnet18", **settings))
    assert list_models(family="custom") == ["tiny"]
    assert create_model("tiny", features_only=True, out_indices=(1,)).feature_info.channels() == [64]
