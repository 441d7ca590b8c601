# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Groups of parameters: rates, weight decay and clipping of one AdamW step against numbers computed by hand."""
import numpy as np
import paddle
import pytest
from paddle import nn
from ppdet.core.workspace import create

from ppdet_ext import UserError
from ppdet_ext.config import config_file
from ppdet_ext.engine import optimizer

BASE, DECAY = 0.1, 0.5


class Net(nn.Layer):
    """Three numbers with gradients 1, 1 and 2; the second layer learns at a tenth of the rate."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(1, 1, bias_attr=False)
        self.slow = nn.Linear(1, 1, paddle.ParamAttr(learning_rate=0.1), bias_attr=False)
        self.norm = nn.Linear(1, 1, bias_attr=False)
        for layer in self.children():
            layer.weight.set_value(np.ones([1, 1], "float32"))

    def loss(self):
        return self.backbone.weight.sum() + self.slow.weight.sum() + 2 * self.norm.weight.sum()

    def values(self):
        return {name: float(layer.weight) for name, layer in self.named_children()}


def build(model, groups, clip=None, **settings):
    settings = {"type": "AdamW", "weight_decay": DECAY, **settings, **({"param_groups": groups} if groups else {})}
    config_file.merge(config_file.global_config, {"OptimizerBuilder": {
        "clip_grad_by_norm": clip, "regularizer": False, "optimizer": settings}})
    return create("OptimizerBuilder")(BASE, model)


def one_step(model, *args, **settings):
    optimizer = build(model, *args, **settings)
    model.loss().backward()
    optimizer.step()
    return model.values()


def by_hand(factor, decay):
    """A first step of AdamW from 1: decoupled decay, then the sign of the gradient."""
    return 1 - BASE * factor * decay - BASE * factor


def test_rates_and_decay_by_hand():
    values = one_step(Net(), [{"params": ["backbone"], "learning_rate": 0.2},
                              {"params": ["^no.*m"], "weight_decay": 0.0}])
    wanted = {"backbone": by_hand(0.2, DECAY), "slow": by_hand(0.1, DECAY), "norm": by_hand(1.0, 0.0)}
    assert values == pytest.approx(wanted, abs=1e-6)


def test_a_group_multiplies_the_rate_of_the_layer():
    model = Net()
    groups = [{"params": ["slow"], "learning_rate": 0.5}]
    build(model, groups)  # a second optimizer begins from the layer's rate, not from the first one's
    assert one_step(model, groups)["slow"] == pytest.approx(by_hand(0.05, DECAY), abs=1e-6)


def test_the_norm_that_is_clipped_is_the_whole_gradient_s():
    """SGD-like readout: AdamW's first moments are a tenth of the clipped gradients (1, 1, 2) * limit / sqrt(6)."""
    model = Net()
    optimizer = build(model, [{"params": ["norm"], "weight_decay": 0.0}], clip=0.6)
    model.loss().backward()
    optimizer.step()
    state = optimizer.state_dict()
    moments = {name: float(state[f"{layer.weight.name}_moment1_0"]) for name, layer in model.named_children()}
    share = 0.1 * 0.6 / np.sqrt(6)
    assert moments == pytest.approx({"backbone": share, "slow": share, "norm": 2 * share}, rel=1e-5)


def test_frozen_parameters_are_left_alone():
    model = Net()
    model.backbone.weight.stop_gradient = True
    assert one_step(model, [{"params": ["."], "learning_rate": 1.0}])["backbone"] == 1.0


@pytest.mark.parametrize("groups, words", [
    ([{"params": ["slow"], "weight_decay": 0.1}], "weight_decay is 0.1"),
    ([{"params": ["slow"]}, {"params": ["s"]}], "'slow.weight' is in the group"),
    ([{"params": "slow"}], "is no group"),
    ([{"params": ["slow"], "lr": 1}], "is no group"),
    ([{"params": ["slow"], "learning_rate": "fast"}], "give a factor"),
])
def test_wrong_groups(groups, words):
    with pytest.raises(UserError, match=words):
        build(Net(), groups)


@pytest.mark.parametrize("group, words", [
    ({"params": ["slow"], "learning_rate": 1e-5}, "is a FACTOR on base_lr"),
    ({"params": ["slwo"]}, "slwo matches NO parameter"),
    ({"params": ["slow"], "learning_rate": 0.01}, ""),
    ({"params": ["slow"], "learning_rate": 0.0}, ""),  # frozen on purpose
])
def test_groups_that_do_nothing_are_said_loudly(group, words, monkeypatch):
    said = []
    monkeypatch.setattr(optimizer.log, "warning", said.append)
    build(Net(), [group])
    assert len(said) == bool(words) and words in "".join(said)


def test_groups_of_another_optimizer():
    with pytest.raises(UserError, match="AdamW, not for Momentum"):
        build(Net(), [{"params": ["slow"]}], type="Momentum")


@pytest.mark.parametrize("name, rates, undecayed", [
    # figures of the paper's appendix: the backbone's rate, and what of it is not decayed
    ("rtdetrv2_r18vd_120e_coco", {"conv": 1e-4, "norm": 1e-4}, {"backbone norm", "neck norm"}),
    ("rtdetrv2_r34vd_120e_coco", {"conv": 5e-5, "norm": 5e-5}, {"backbone norm", "neck norm", "neck bias"}),
    ("rtdetrv2_r50vd_6x_coco", {"conv": 1e-5, "norm": 1e-4}, {"neck norm"}),
    ("rtdetrv2_r101vd_6x_coco", {"conv": 1e-6, "norm": 1e-4}, {"neck norm"}),
])
def test_rates_of_the_v2_recipes(name, rates, undecayed):
    from support.detector_cases import CONFIGS

    cfg = config_file.load(CONFIGS / "rtdetrv2" / f"{name}.yml")
    settings = cfg["OptimizerBuilder"]["optimizer"]
    names = {"backbone conv": "backbone.res2.0.conv.weight", "backbone norm": "backbone.res2.0.norm.weight",
             "neck norm": "neck.fpn_blocks.0.conv1.bn.weight", "neck bias": "neck.encoder.0.layers.0.linear1.bias",
             "transformer": "transformer.enc_score_head.weight"}
    holder = nn.Layer()
    parameters = {key: paddle.create_parameter([1], "float32") for key in names}
    holder.named_parameters = lambda: [(names[key], parameter) for key, parameter in parameters.items()]
    free = optimizer.apply_groups(holder, settings["param_groups"], settings["weight_decay"])
    have = {key: cfg["LearningRate"]["base_lr"] * p.optimize_attr["learning_rate"] for key, p in parameters.items()}
    wanted = {**dict.fromkeys(names, 1e-4), **{f"backbone {kind}": rate for kind, rate in rates.items()}}
    assert have == pytest.approx(wanted)
    assert {key for key, parameter in parameters.items() if parameter.name in free} == undecayed
