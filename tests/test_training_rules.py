# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What moves the weights, against numbers computed by hand: groups, clipping, warm-up, and the average of weights."""
import math

import numpy as np
import paddle
import pytest
from paddle import nn
from ppdet.core.workspace import create, global_config
from ppdet.optimizer import ModelEMA

from ppdet_ext import config

WEIGHT_DECAY, RATE = 0.1, 0.01
#: RT-DETRv2's groups, the rate as the factor that Paddle reads
V2_GROUPS = [{"params": ["^(?=.*backbone)(?!.*norm).*$"], "learning_rate": 0.1},
             {"params": ["^(?=.*(?:neck|transformer))(?=.*(?:norm|bn)).*$"], "weight_decay": 0.0}]


class Block(nn.Layer):
    def __init__(self, norm_name="norm"):
        super().__init__()
        self.conv = nn.Conv2D(1, 1, 1)
        setattr(self, norm_name, nn.BatchNorm2D(1))


class Net(nn.Layer):
    """Names as a detector's: backbone.conv.weight, neck.bn.bias, ..."""

    def __init__(self):
        super().__init__()
        self.backbone, self.neck = Block(), Block("bn")


def builder(groups=None, clip=None, **optimizer):
    """The OptimizerBuilder that configs get."""
    settings = {"type": "AdamW", "weight_decay": WEIGHT_DECAY, **optimizer}
    if groups:
        settings["param_groups"] = groups
    made = create("OptimizerBuilder")
    made.optimizer, made.clip_grad_by_norm, made.regularizer = settings, clip, False
    return made


def stepped(model, groups, clip=None, gradient=0.5):
    """{name: (before, after)} of one step in which every gradient is ``gradient``."""
    for parameter in model.parameters():
        parameter.set_value(paddle.full(parameter.shape, 2.0))
        if not parameter.stop_gradient:
            parameter.grad = paddle.full(parameter.shape, gradient)
    optimizer = builder(groups, clip)(RATE, model)
    optimizer.step()
    return {name: float(parameter.reshape([-1])[0]) for name, parameter in model.named_parameters()}


def by_hand(factor=1.0, weight_decay=WEIGHT_DECAY, gradient=0.5):
    """AdamW's first step from 2.0: the decay, then rate * m / (sqrt(v) + eps), both bias-corrected to the gradient."""
    rate = RATE * factor
    return 2.0 * (1 - rate * weight_decay) - rate * gradient / (abs(gradient) + 1e-8)


def test_groups_of_the_recipe_by_hand():
    after = stepped(Net(), V2_GROUPS)
    wanted = {"backbone.conv.weight": by_hand(0.1), "backbone.conv.bias": by_hand(0.1),
              "backbone.norm.weight": by_hand(), "backbone.norm.bias": by_hand(),
              "neck.conv.weight": by_hand(), "neck.conv.bias": by_hand(),
              "neck.bn.weight": by_hand(weight_decay=0), "neck.bn.bias": by_hand(weight_decay=0)}
    assert {name: after[name] for name in wanted} == pytest.approx(wanted, rel=1e-6)


def test_frozen_parameters_of_a_group_stay():
    model = Net()
    model.backbone.conv.weight.stop_gradient = True
    after = stepped(model, V2_GROUPS)
    assert after["backbone.conv.weight"] == 2.0 and after["backbone.conv.bias"] == pytest.approx(by_hand(0.1))


def test_a_group_without_a_rate_leaves_the_parameters_own():
    """``lr_mult_list`` is the parameters' own; groups as ppdet 2.6.0 makes them would write 1.0 over it."""
    model = Net()
    for parameter in model.backbone.parameters():
        parameter.optimize_attr["learning_rate"] = 0.25
    after = stepped(model, [{"params": ["norm", "bn"], "weight_decay": 0}])
    assert after["backbone.conv.weight"] == pytest.approx(by_hand(0.25), rel=1e-6)
    assert after["backbone.norm.weight"] == pytest.approx(by_hand(0.25, weight_decay=0), rel=1e-6)


def test_clipping_is_by_one_norm_over_all_groups():
    model = Net()
    for parameter in model.parameters():
        parameter.grad = None if parameter.stop_gradient else paddle.full(parameter.shape, 3.0)
    optimizer = builder(V2_GROUPS, clip=0.1)(RATE, model)
    optimizer.step()
    moments = [float(tensor.reshape([-1])[0]) for name, tensor in optimizer.state_dict().items() if "moment1" in name]
    # eight gradients of 3 have the norm 3 * sqrt(8); each becomes 0.1 / sqrt(8), of which the first moment is a tenth
    assert moments == pytest.approx([0.1 * 0.1 / math.sqrt(8)] * 8, rel=1e-5)


def test_warmup_and_steps_by_hand():
    config.merge(global_config, {"LearningRate": {"base_lr": 0.01, "schedulers": [
        {"name": "PiecewiseDecay", "gamma": [0.1], "milestones": [2], "use_warmup": True},
        {"name": "LinearWarmup", "start_factor": 0.001, "steps": 4}]}})
    schedule = create("LearningRate")(5)
    rates = []
    for _ in range(12):
        rates.append(schedule.get_lr())
        schedule.step()
    warm = [0.01 * (0.001 * (1 - i / 4) + i / 4) for i in range(5)]
    assert rates == pytest.approx(warm + [0.01] * 5 + [0.001] * 2)


def test_the_average_of_weights_by_hand():
    """RT-DETR's: exponential, decay 0.9999, frozen parameters kept, statistics of norms averaged as weights are."""
    model = Net()
    model.backbone.conv.weight.stop_gradient = True
    average = ModelEMA(model, decay=0.9999, ema_decay_type="exponential", ema_filter_no_grad=True)
    wanted = {name: np.zeros(tensor.shape) for name, tensor in model.state_dict().items()}
    for step in range(3):
        for i, (name, tensor) in enumerate(sorted(model.state_dict().items())):
            tensor.set_value(paddle.full(tensor.shape, i + 10.0 ** step))
            decay = 0.9999 * (1 - math.exp(-(step + 1) / 2000))
            wanted[name] = decay * wanted[name] + (1 - decay) * (i + 10.0 ** step)
        average.update()
    wanted["backbone.conv.weight"] = model.backbone.conv.weight.numpy()
    found = average.apply()
    assert set(found) == set(wanted) and "neck.bn._mean" in found
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-5)
