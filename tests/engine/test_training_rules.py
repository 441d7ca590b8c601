# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What moves the weights, against numbers computed by hand: warm-up and the average of weights."""
import math

import numpy as np
import paddle
import pytest
from paddle import nn
from ppdet.core.workspace import create, global_config
from ppdet.optimizer import ModelEMA

from ppdet_ext.config import config_file


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


def test_warmup_and_steps_by_hand():
    config_file.merge(global_config, {"LearningRate": {"base_lr": 0.01, "schedulers": [
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
