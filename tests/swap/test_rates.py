# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Learning rates after a swap: factors by group, a ramp for what was kept, and those that auto measures."""
import json
from types import SimpleNamespace

import paddle
import pytest
from paddle import nn
from support.two_networks import Net

from ppdet_ext.config import swap_keys
from ppdet_ext.engine.hooks import Status
from ppdet_ext.swap import rates, starts

RATE = 1e-3


class Run:
    """A trainer's parts that the hook looks at; the optimizer is real."""

    def __init__(self, folder):
        paddle.seed(0)
        self.model, self.output, self.status = Net(), folder, Status()
        self.lr = paddle.optimizer.lr.LambdaDecay(RATE, lambda step: 1.0)
        self.optimizer = paddle.optimizer.AdamW(self.lr, parameters=self.model.parameters(), weight_decay=0.0)
        self.precision, self.cfg = SimpleNamespace(half_weights=False), {"LearningRate": {"base_lr": RATE}}

    def steps(self, hook, count):
        for _ in range(count):
            sum((p * paddle.randn(p.shape)).sum() for p in self.model.parameters() if not p.stop_gradient).backward()
            hook.before_update(self.status)
            self.optimizer.step()
            self.lr.step()
            self.optimizer.clear_grad()
            hook.after_step(self.status)


def hook_of(run, start="random", **given):
    settings = swap_keys.settings({"pretrain_weights": "x", "swap_backbone": given or True})
    hook = rates.Rates(run, settings, start)
    hook.before_train(run.status)
    return hook


def factor(run, name):
    return dict(run.model.named_parameters())[name].optimize_attr["learning_rate"]


def test_groups_are_all_that_learns():
    found = rates.groups(Net())
    assert list(found) == list(rates.GROUPS)
    assert sum(map(len, found.values())) == sum(not p.stop_gradient for p in Net().parameters())


def test_the_plan_ramps_what_was_kept_and_multiplies_the_configs_own(tmp_path):
    run = Run(tmp_path)
    run.model.backbone.first[0].weight.optimize_attr["learning_rate"] = 0.1
    hook = hook_of(run, lr_random=3.0, lr_kept=0.5, lr_warmup=4)
    seen = []
    for _ in range(6):
        run.steps(hook, 1)
        seen.append(factor(run, "head.weight"))
    assert seen == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5, 0.5])
    assert factor(run, "backbone.first.0.weight") == pytest.approx(0.3)
    assert factor(run, "backbone.second.0.weight") == pytest.approx(3.0)


def test_a_pretrained_backbone_has_a_factor_of_its_own(tmp_path):
    run = Run(tmp_path)
    run.steps(hook_of(run, "pretrained", lr_pretrained=0.2), 1)
    assert factor(run, "backbone.first.0.weight") == pytest.approx(0.2)


def test_a_random_backbone_steps_as_its_norms_allow(tmp_path):
    settings = swap_keys.filled(True)
    bn, ln = nn.Sequential(nn.Conv2D(3, 4, 1), nn.BatchNorm2D(4)), nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    found = [starts.start_of(net, settings) for net in (bn, ln, nn.Sequential(bn, ln), nn.Linear(3, 4))]
    assert found == ["random_bn", "random", "random", "random"]
    assert starts.start_of(bn, {**settings, "backbone_weights": "file"}) == "pretrained"
    bn.weights_source = "hub"
    assert starts.start_of(bn, settings) == "pretrained"
    run = Run(tmp_path)
    run.steps(hook_of(run, "random_bn", lr_random_bn=0.7), 1)
    assert factor(run, "backbone.first.0.weight") == pytest.approx(0.7)


def test_lr_false_leaves_the_configs_rates(tmp_path):
    run = Run(tmp_path)
    run.steps(hook_of(run, lr=False), 2)
    assert {p.optimize_attr["learning_rate"] for p in run.model.parameters()} == {1.0}


def test_auto_brings_each_groups_ratio_to_what_is_wanted(tmp_path, log):
    run = Run(tmp_path)
    given = {"lr": "auto", "ratio_kept": 2e-3, "ratio_random": 4e-3, "ratio_projections": 1e-3, "lr_warmup": 20}
    hook = hook_of(run, **given)
    with log.at_level("INFO", "ppdet.engine"):
        run.steps(hook, rates.MEASURED)
    said = list({record.message for record in log.records if "lr: auto" in record.message})
    assert len(said) == 1 and "(wanted 2.0e-03)" in said[0]
    found = []
    for _ in range(10):
        hook.updates.before()
        run.steps(hook, 1)
        found.append(hook.updates.ratios())
    for group, wanted in ((rates.KEPT, 2e-3), (rates.BACKBONE, 4e-3), (rates.PROJECTIONS, 1e-3)):
        assert sum(one[group] for one in found) / 10 == pytest.approx(wanted, rel=0.3)


def test_a_run_that_goes_on_has_the_factors_it_found(tmp_path):
    run = Run(tmp_path)
    hook = hook_of(run, lr="auto")
    assert json.loads((tmp_path / rates.FILE).read_text())["measured"] is False
    run.steps(hook, rates.MEASURED)
    again = Run(tmp_path)
    again.lr.last_epoch = rates.MEASURED
    other = hook_of(again, lr="auto")
    assert other.factors == hook.factors and not other.auto


def test_factors_have_limits():
    assert rates.factors_for({"a": 1e-9, "b": 1.0, "c": 0.0}, dict.fromkeys("abc", 1e-3)) == {
        "a": rates.MOST, "b": rates.LEAST, "c": 1.0}
