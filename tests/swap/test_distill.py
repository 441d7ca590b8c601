# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Distillation while training: a further loss, of which nothing stays in the network."""
from types import SimpleNamespace

import numpy as np
import paddle
from support.two_networks import SAME, Net, teacher

from ppdet_ext.engine.hooks import Status
from ppdet_ext.swap.align import projected
from ppdet_ext.swap.distill import LOSS, Distill


def run_of(net):
    return SimpleNamespace(model=net, end_epoch=2, accumulation=SimpleNamespace(steps_per_epoch=5),
                           lr=SimpleNamespace(last_epoch=0))


def loss_of(hook, net, image):
    projected(net, image)
    losses = {"loss": paddle.ones([])}
    hook.add_losses({"image": image}, losses)
    return losses


def test_it_adds_a_loss_that_falls_to_nothing():
    paddle.seed(1)
    net, image = Net(), paddle.randn([2, 3, 16, 16])
    hook = Distill(run_of(net), teacher(), SAME, 2.0)
    hook.before_train(Status())
    first = loss_of(hook, net, image)
    assert float(first["loss"]) == 1 + float(first[LOSS]) and float(first[LOSS]) > 0.1
    first["loss"].backward()
    assert np.abs(net.backbone.first[0].weight.grad.numpy()).max() > 0
    hook.trainer.lr.last_epoch = 5
    assert np.isclose(float(loss_of(hook, net, image)[LOSS]), float(first[LOSS]) / 2, rtol=0.05)
    hook.trainer.lr.last_epoch = 10
    assert float(loss_of(hook, net, image)[LOSS]) == 0


def test_the_teacher_itself_costs_nothing():
    old = teacher()
    hook = Distill(run_of(old.net), old, SAME, 1.0)
    hook.before_train(Status())
    old.net.neck.input_proj.train()
    for projection in old.net.neck.input_proj:
        projection[1].training = False
    assert float(loss_of(hook, old.net, paddle.randn([2, 3, 16, 16]))[LOSS]) < 1e-9


def test_inference_is_the_same_to_the_bit_and_nothing_is_kept():
    net, image = Net(), paddle.randn([1, 3, 16, 16])
    net.eval()
    before, names = [one.numpy() for one in projected(net, image)], list(net.state_dict())
    hook = Distill(run_of(net), teacher(), SAME, 1.0)
    hook.before_train(Status())
    for mine, theirs in zip(before, projected(net, image)):
        assert np.array_equal(mine, theirs.numpy())
    assert not hook.features and list(net.state_dict()) == names
    hook.close(None)
    assert not any(layer._forward_post_hooks for layer in net.sublayers())
