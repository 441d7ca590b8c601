# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""TimmBackbone and TorchvisionBackbone: each setting has its effect, by numbers."""
import numpy as np
import paddle
import pytest
import yaml
from paddle import nn
from support.registry_fixtures import clean_registry  # noqa: F401

from ppdet_ext import registry
from ppdet_ext.backbones import create_model, modules
from ppdet_ext.errors import UserError
from ppdet_ext.registry.weights_wanted import without_pretrained
from ppdet_ext.weights import download, pretrained_weights

pytestmark = pytest.mark.usefixtures("clean_registry")

RESNET = {"name": "TimmBackbone", "arch": "resnet18"}


def build(**settings):
    """A resnet18 whose residual branches are awake (they start at a weight of zero, which stops gradients)."""
    backbone = registry.build({**RESNET, **settings})
    for layer in backbone.sublayers():
        if hasattr(layer, "last_norm"):
            layer.last_norm().weight.set_value(paddle.ones_like(layer.last_norm().weight))
    return backbone


def image(batch=2, size=64, channels=3):
    paddle.seed(0)
    return {"image": paddle.rand([batch, channels, size, size])}


def state(layer):
    return {name: value.numpy().copy() for name, value in layer.state_dict().items()}


def moved(layer, before):
    """Largest change of each parameter and statistic."""
    return {name: float(np.abs(value - before[name]).max()) for name, value in state(layer).items()}


def step(backbone, optimizer, loss_scale=1.0, batch=None):
    """One training step on a loss in which every feature counts; returns what moved, and how far."""
    before = state(backbone)
    backbone.train()
    features = backbone(batch or image())
    loss = sum((feature * paddle.cos(paddle.arange(feature.size, dtype="float32").reshape(feature.shape))).sum()
               for feature in features) * loss_scale
    loss.backward()
    optimizer.step()
    optimizer.clear_grad()
    return moved(backbone, before)


def adamw(backbone, lr=1e-3, **settings):
    """The optimizer as ppdet's OptimizerBuilder makes it."""
    builder = registry.build({"name": "OptimizerBuilder", "regularizer": False,
                              "optimizer": {"type": "AdamW", "weight_decay": 0.0, **settings}})
    return builder(lr, backbone)


def test_default_features_are_those_the_neck_wants():
    backbone = build()
    assert [(spec.channels, spec.stride) for spec in backbone.out_shape] == [(128, 8), (256, 16), (512, 32)]
    features = backbone(image())
    assert [list(feature.shape) for feature in features] == [[2, 128, 8, 8], [2, 256, 4, 4], [2, 512, 2, 2]]
    backbone.eval()
    for from_batch, from_image in zip(backbone(image()), backbone(image()["image"])):
        assert (from_batch.numpy() == from_image.numpy()).all()


@pytest.mark.parametrize("settings", [{"out_indices": [1, 3]}, {"return_idx": [1, 3]},
                                      {"out_indices": [1, 3], "return_idx": [1, 3]}])
def test_chosen_features(settings):
    backbone = build(**settings)
    assert [(spec.channels, spec.stride) for spec in backbone.out_shape] == [(64, 4), (256, 16)]
    assert not any("layer4" in name for name in backbone.state_dict())
    assert [feature.shape[1] for feature in backbone(image())] == [64, 256]


def test_names_are_the_sources():
    names = set(create_model("resnet18", features_only=True).state_dict())
    assert {name[len("model."):] for name in build().state_dict()} == names


def test_paddledetections_style_section():
    registry.names.workspace.merge_config({"TimmBackbone": {"arch": "resnet34", "return_idx": [2]},
                                            "norm_type": "sync_bn"})
    backbone = registry.build("TimmBackbone")
    assert (backbone.arch, len(backbone.out_shape), backbone.norm_type) == ("resnet34", 1, "sync_bn")


def test_torchvision():
    backbone = registry.build({"name": "TorchvisionBackbone", "arch": "resnet18"})
    assert [spec.stride for spec in backbone.out_shape] == [8, 16, 32]
    assert backbone.pretrained_cfg.source == "torchvision"


@pytest.mark.parametrize("settings, message", [
    ({"arch": "resnet17"}, r"unknown arch 'resnet17'; did you mean resnet"),
    ({"arch": 50}, r"arch is 50; write a name"),
    ({"out_indices": [2, 7]}, r"out_indices \[2, 7\] do not fit: the network has 5 features"),
    ({"out_indices": [2, 3], "return_idx": [1, 2]}, r"out_indices \[2, 3\] and return_idx \[1, 2\] differ"),
    ({"norm_type": "gn"}, r"norm_type is 'gn'; it takes bn or sync_bn"),
    ({"lr_mult_list": [0.1, 0.1]}, r"lr_mult_list is \[0.1, 0.1\], but resnet18 has 4 stages"),
    ({"freeze_at": 4}, r"freeze_at is 4, but resnet18 has 4 stages after its stem, counted from 0"),
    ({"freeze_at": True}, r"freeze_at is True; it takes -1"),
    ({"pretrained": 3}, r"pretrained is 3; it takes true, false, auto, or a path"),
    ({"pretrained": "nowhere/weights.pdparams"}, r"nowhere/weights\.pdparams"),
    ({"archh": "resnet18"}, r"TimmBackbone has no setting 'archh'; did you mean arch"),
])
def test_mistakes_are_named(settings, message):
    with pytest.raises(UserError, match=message) as caught:
        build(**settings)
    assert "\n" not in str(caught.value)


def test_network_without_the_necks_strides_is_refused():
    info = create_model("resnet18", features_only=True, out_indices=(0, 1, 2)).feature_info.from_other((0, 1, 2))
    with pytest.raises(UserError, match=r"has features at strides \[2, 4, 8\], not at 8, 16 and 32"):
        modules.default_indices(info, "shallow")


FROZEN = {  # settings -> modules whose parameters and statistics must stand still
    "none": ({}, ()),
    "stem": ({"freeze_at": 0, "freeze_stem_only": True}, ("conv1", "bn1")),
    "stage 0": ({"freeze_at": 0}, ("conv1", "bn1", "layer1")),
    "stage 2": ({"freeze_at": 2}, ("conv1", "bn1", "layer1", "layer2", "layer3")),
}


@pytest.mark.parametrize("settings, still", FROZEN.values(), ids=FROZEN)
def test_freeze_at(settings, still):
    backbone = build(**settings)
    changes = step(backbone, adamw(backbone, weight_decay=0.1))
    for name, change in changes.items():
        assert (change == 0.0) == (name.split(".")[1] in still), (name, change)


def test_freeze_norm_survives_train_mode():
    backbone = build(freeze_norm=True)
    holder = nn.LayerList([backbone])
    holder.train()  # as ppdet's Trainer does, from above
    changes = step(backbone, adamw(backbone, weight_decay=0.1))
    norms = {name for name, layer in backbone.named_sublayers() if isinstance(layer, nn.BatchNorm2D)}
    assert len(norms) == 20
    for name, change in changes.items():
        assert (change == 0.0) == (name.rpartition(".")[0] in norms), (name, change)


def test_unfrozen_norm_moves():
    backbone = build()
    changes = step(backbone, adamw(backbone))
    assert all(change > 0 for change in changes.values())


def test_frozen_norm_uses_its_statistics():
    backbone = build(freeze_norm=True)
    backbone.eval()
    wanted = [feature.numpy() for feature in backbone(image())]
    backbone.train()
    for feature, value in zip(backbone(image()), wanted):
        np.testing.assert_allclose(feature.numpy(), value, atol=1e-6)


def test_freezing_survives_conversion_to_sync_bn():
    """ppdet's Trainer converts the whole detector; SyncBatchNorm itself knows no frozen statistics."""
    backbone = build(freeze_norm=True, freeze_at=0)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(nn.LayerList([backbone]))
    converted.train()
    backbone.hold_frozen()
    norms = [layer for layer in backbone.sublayers() if isinstance(layer, nn.SyncBatchNorm)]
    assert len(norms) == 20 and not any(norm.training for norm in norms)
    assert all(norm.weight.stop_gradient for norm in norms)


def test_freezing_survives_ema():
    from ppdet.optimizer import ModelEMA
    backbone = build(freeze_norm=True, freeze_at=0)
    ema = ModelEMA(backbone, decay=0.5, ema_decay_type="normal", ema_filter_no_grad=True)
    for _ in range(2):
        step(backbone, adamw(backbone))
        ema.update()
    averaged, now = ema.apply(), state(backbone)
    for name in ("model.conv1.weight", "model.layer4.1.bn2.weight", "model.bn1.bias"):
        assert (averaged[name].numpy() == now[name]).all(), name
    np.testing.assert_allclose(averaged["model.bn1._variance"].numpy(), now["model.bn1._variance"], rtol=1e-6)
    assert not (averaged["model.layer4.1.conv2.weight"].numpy() == now["model.layer4.1.conv2.weight"]).all()


def test_freezing_random_weights_is_said(log):
    build(freeze_at=0)
    assert any("at random values" in record.getMessage() for record in log.records if record.levelname == "WARNING")


@pytest.mark.parametrize("rates", [[0.1, 0.5, 1.0, 0.0], 0.2])
def test_lr_mult_list(rates):
    """AdamW's first step is the learning rate times the sign of the gradient, wherever there is one."""
    backbone = build(lr_mult_list=rates)
    changes = step(backbone, adamw(backbone, lr=1e-3))
    one_each = rates if isinstance(rates, list) else [rates] * 4
    for stage, rate in enumerate(one_each):
        for name in (f"model.layer{stage + 1}.0.conv1.weight", f"model.layer{stage + 1}.1.bn2.weight"):
            assert changes[name] == pytest.approx(1e-3 * rate, rel=1e-2), name
    assert changes["model.conv1.weight"] == pytest.approx(1e-3 * one_each[0], rel=1e-2)


@pytest.mark.parametrize("decay, change", [(0.0, 0.0), (0.5, 0.05)])
def test_norm_decay_replaces_the_optimizers_regularizer(decay, change):
    """With no gradient a step is -lr * factor * value: norm_decay for BatchNorm, the optimizer's for convolutions."""
    backbone = build(norm_decay=decay)
    norm = backbone.model.layer1[0].bn1
    norm.weight.set_value(paddle.full([64], 2.0))
    weight = float(backbone.model.conv1.weight.abs().max())
    optimizer = registry.build({"name": "OptimizerBuilder", "regularizer": {"type": "L2", "factor": 0.25},
                                "optimizer": {"type": "Momentum", "momentum": 0.9}})(0.05, backbone)
    changes = step(backbone, optimizer, loss_scale=0.0)
    assert changes["model.layer1.0.bn1.weight"] == pytest.approx(change, abs=1e-6)
    assert changes["model.conv1.weight"] == pytest.approx(0.05 * 0.25 * weight, rel=1e-4)


def test_norm_type_sync_bn_is_bn_in_one_process(monkeypatch):
    backbone = build(norm_type="sync_bn")
    assert not any(isinstance(layer, nn.SyncBatchNorm) for layer in backbone.sublayers())
    step(backbone, adamw(backbone))
    monkeypatch.setattr(modules.processes, "count", lambda: 2)
    backbone = build(norm_type="sync_bn", lr_mult_list=0.5, freeze_norm=True)
    norms = [layer for layer in backbone.sublayers() if isinstance(layer, nn.SyncBatchNorm)]
    assert len(norms) == 20 and norms[0].weight.optimize_attr["learning_rate"] == 0.5 and norms[0].weight.stop_gradient


def test_recompute_changes_nothing_but_memory():
    plain, again = build(), build(recompute=True)
    again.set_state_dict(plain.state_dict())
    assert not plain.model.recompute and again.model.recompute
    changes = [step(backbone, paddle.optimizer.SGD(0.1, parameters=backbone.parameters()))
               for backbone in (plain, again)]
    assert changes[0] == pytest.approx(changes[1], rel=1e-4, abs=1e-7)
    assert changes[1]["model.conv1.weight"] > 0


def test_drop_path_rate_reaches_the_network():
    from ppdet_ext.nn import DropPath
    rates = [layer.rate for layer in build(drop_path_rate=0.3).sublayers() if isinstance(layer, DropPath)]
    assert rates[-1] == pytest.approx(0.3)


def test_in_chans():
    assert build(in_chans=1)(image(channels=1))[0].shape[1] == 128


def saved_weights(folder, arch="resnet18"):
    paddle.seed(5)
    model = create_model(arch, features_only=True)
    paddle.save(model.state_dict(), str(folder / f"{arch}.pdparams"))
    return model, str(folder / f"{arch}.pdparams")


def test_pretrained_path(tmp_path, log):
    model, path = saved_weights(tmp_path)
    backbone = build(pretrained=path)
    assert (backbone.model.layer3[0].conv1.weight.numpy() == model.layer3[0].conv1.weight.numpy()).all()
    assert path in backbone.weights_source and backbone.load_report.matched
    assert any(f"weights from {backbone.weights_source}" in record.getMessage() for record in log.records)


def test_pretrained_of_another_arch_is_refused(tmp_path):
    _, path = saved_weights(tmp_path)
    with pytest.raises(UserError, match="resnet18.pdparams"):
        build(arch="resnet34", pretrained=path)


def test_random_start_is_said(log):
    backbone = build()
    assert backbone.weights_source == "random initialisation"
    assert any("backbone resnet18: random initialisation (pretrained: false)" in record.getMessage()
               for record in log.records)


def test_auto_without_weights_starts_at_random(monkeypatch, log):
    def unavailable(*_, **__):
        raise download.Unavailable("no hub here")

    monkeypatch.setattr(pretrained_weights, "locate_spec", unavailable)
    monkeypatch.setattr(pretrained_weights, "by_hand", lambda cfg: None)
    backbone = build(pretrained="auto")
    assert (backbone.weights_source, backbone.load_report) == (pretrained_weights.RANDOM, None)
    assert any(record.levelname == "WARNING" and "RANDOM" in record.getMessage() for record in log.records)
    with pytest.raises(UserError, match="no hub here"):
        build(pretrained=True)


def test_without_pretrained_needs_no_weights(log):
    with without_pretrained():
        backbone = build(pretrained="nowhere/weights.pdparams", freeze_at=0)
    assert backbone.load_report is None
    assert any("weights come with the detector's checkpoint" in record.getMessage() for record in log.records)
    assert not any(record.levelname == "WARNING" for record in log.records)
    with pytest.raises(UserError):
        build(pretrained="nowhere/weights.pdparams")


def test_serializable_round_trip():
    backbone = build(lr_mult_list=[0.1, 0.1, 0.1, 0.1], return_idx=[2, 3, 4])
    again = yaml.load(yaml.dump(backbone), Loader=yaml.FullLoader)
    assert isinstance(again, modules.TimmBackbone)
    assert (again.arch, again.return_idx, again.lr_mult_list) == ("resnet18", [2, 3, 4], [0.1, 0.1, 0.1, 0.1])
