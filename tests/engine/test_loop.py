# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The training loop: what happens when, which batches count as one, and whose weights are saved and evaluated."""
import logging
import types

import numpy as np
import paddle
import pytest
from paddle import nn
from ppdet.optimizer import ModelEMA
from support.detector_cases import build_detector, frozen_norm_train, train_batch
from support.small_detector import NO_CHANCE
from support.trainers import trainer_of

from ppdet_ext import kernels
from ppdet_ext.engine.accumulation import GradientAccumulation
from ppdet_ext.engine.history import History
from ppdet_ext.engine.hooks import Hook, Status
from ppdet_ext.engine.loop import TrainingLoop, run_evaluation
from ppdet_ext.engine.precision import Precision
from ppdet_ext.engine.weight_average import WeightAverage
from ppdet_ext.errors import UserError

POINTS = [name for name in vars(Hook) if name.startswith(("before", "after"))]


class Regression(nn.Layer):
    """Its training loss is the mean over the batch, so that halves average to the whole."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs):
        return {"loss": (self.layer(inputs["x"]) ** 2).mean()}


class Loader(list):
    """Batches of ``size`` rows of ``rows``, as ppdet's reader gives them."""

    def __init__(self, rows, size):
        super().__init__({"x": paddle.to_tensor(rows[i:i + size])} for i in range(0, len(rows), size))
        self.dataset = types.SimpleNamespace(set_epoch=lambda epoch: None)


class Recorder(Hook):
    """Notes every call: (point, epoch, step)."""

    def __init__(self):
        self.calls = []

    def __getattribute__(self, name):
        if name not in POINTS:
            return super().__getattribute__(name)
        return lambda status: self.calls.append((name, status.epoch, status.step))


def loop_of(rows, size, every=1, hooks=(), average=None, **settings):
    """(model, loop) of SGD with a rate that halves with every step."""
    paddle.seed(3)
    model = Regression()
    schedule = paddle.optimizer.lr.ExponentialDecay(0.1, 0.5)
    optimizer = paddle.optimizer.SGD(schedule, parameters=model.parameters())
    loader = Loader(rows, size)
    if average:
        average = WeightAverage(ModelEMA(model, decay=0.5, ema_decay_type="normal"), model, optimizer)
    loop = TrainingLoop(model, loader, optimizer, schedule, GradientAccumulation(len(loader), every),
                        average=average, hooks=hooks, **settings)
    return model, loop


@pytest.fixture
def rows():
    return np.random.default_rng(0).random((8, 3)).astype("float32")


def test_hooks_are_called_in_order(rows):
    seen = Recorder()
    _, loop = loop_of(rows, 4, hooks=[seen], snapshot_epochs=2)
    loop.evaluate = lambda: seen.calls.append("evaluation")
    loop.run(1, 4)
    steps = [(point, step) for step in (0, 1) for point in ("before_step", "before_update", "after_step")]
    wanted = [("before_train", 1, 0)]
    for epoch, evaluated in ((1, True), (2, False), (3, True)):
        wanted += [("before_epoch", epoch, 0 if epoch == 1 else 1)]
        wanted += [(point, epoch, step) for point, step in steps] + [("after_epoch", epoch, 1)]
        wanted += ["evaluation"] * evaluated
    assert seen.calls == [*wanted, ("after_train", 3, 1)]


def test_a_group_of_batches_is_one_large_batch(rows):
    """Twice two rows at once or four rows: the same weights after two epochs, schedule and average count groups."""
    small, large = (loop_of(rows, size, every, average=True) for size, every in ((2, 2), (4, 1)))
    for _, loop in (small, large):
        loop.run(0, 2)
    for (model, loop), (wanted, _) in ((small, large),):
        np.testing.assert_allclose(model.layer.weight, wanted.layer.weight, rtol=1e-6)
        assert loop.schedule.last_epoch == loop.average.ema.step == 4
        assert all(parameter.grad is None for parameter in model.parameters())


def test_the_logged_loss_is_a_batchs_own(rows):
    losses, rates = [], []

    class Watch(Hook):
        def after_step(self, status):
            losses.append(float(status.losses.meters["loss"].value))
            rates.append(status.learning_rate)
    model, loop = loop_of(rows, 2, every=2, hooks=[Watch()])
    wanted = [float(model(batch)["loss"]) for batch in loop.loader]
    loop.run(0, 1)
    assert losses[:2] == pytest.approx(wanted[:2], rel=1e-6)  # then the weights move
    assert rates == [0.1, 0.1, 0.05, 0.05]


def test_the_last_group_of_an_epoch_may_be_smaller():
    accumulation = GradientAccumulation(5, 2)
    assert [accumulation.ends_group(step) for step in range(5)] == [False, True, False, True, True]
    assert [accumulation.group_size(step) for step in range(5)] == [2, 2, 2, 2, 1]
    assert accumulation.steps_per_epoch == 3
    alone = GradientAccumulation(3)
    assert alone.steps_per_epoch == 3 and [alone.group_size(step) for step in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("every", [0, -1, 2.0, True, "2"])
def test_a_wrong_number_is_refused(every):
    with pytest.raises(UserError, match=r"accumulate_steps is .*; it takes the number of batches"):
        GradientAccumulation(4, every)


def test_a_loss_that_is_no_number_stops_the_run(rows, tmp_path):
    rows[5] = np.nan
    seen = Recorder()
    _, loop = loop_of(rows, 2, hooks=[History(types.SimpleNamespace(output=tmp_path, cfg={})), seen])
    with pytest.raises(UserError, match=r"the loss became nan at epoch 0, step 2"):
        loop.run(0, 3)
    assert seen.calls[-1] == ("before_step", 0, 2)


def test_snapshots_see_the_average_and_training_goes_on_without_it(rows):
    values = {}

    class Watch(Hook):
        def after_step(self, status):
            values[status.epoch] = model.layer.weight.numpy()

        def after_epoch(self, status):
            values["seen", status.epoch] = model.layer.weight.numpy()
            if status.epoch == 1:
                own, averaged = loop.average.weights()
                np.testing.assert_array_equal(own["layer.weight"], values[1])
                np.testing.assert_array_equal(averaged["layer.weight"], values["seen", 1])

        def before_epoch(self, status):
            values["start", status.epoch] = model.layer.weight.numpy()
    model, loop = loop_of(rows, 8, hooks=[Watch()], average=True, snapshot_epochs=2)
    loop.run(0, 4)
    np.testing.assert_array_equal(values["seen", 2], values[2])
    np.testing.assert_allclose(values["seen", 1], (values[0] / 4 + values[1] / 2) / 0.75, rtol=1e-6)
    np.testing.assert_array_equal(values["start", 2], values[1])


class GradientRecorder:
    """In the place of optimizer and schedule: keeps what each step would move the weights by."""

    def __init__(self, model):
        self.model, self.steps = model, []

    def step(self):
        found = {name: parameter.grad.numpy() for name, parameter in self.model.named_parameters()
                 if parameter.grad is not None}
        self.steps += [found] if found else []  # the schedule steps too

    def clear_grad(self, set_to_zero):
        self.model.clear_gradients(set_to_zero)

    def get_lr(self):
        return 0.0


def test_a_detectors_group_averages_its_batches():
    """Norms frozen, no dropout or denoising: the group's gradient is the mean of its batches', each as it is alone."""
    class FrozenNorms(Hook):
        def before_step(self, status):
            frozen_norm_train(model)

    model = build_detector(**NO_CHANCE)
    batches = Loader([], 1)
    batches += [train_batch(64, 64, count, num_classes=5) for count in (1, 2)]
    steps = {}
    for every in (1, 2):
        recorder = GradientRecorder(model)
        TrainingLoop(model, batches, recorder, types.SimpleNamespace(step=lambda: None),
                     GradientAccumulation(2, every), hooks=[FrozenNorms()]).run(0, 1)
        steps[every] = recorder.steps
    (first, second), (found,) = steps[1], steps[2]
    largest = max(np.abs(value).max() for value in found.values())
    for name, value in found.items():
        np.testing.assert_allclose(value, (first[name] + second[name]) / 2, rtol=1e-3, atol=1e-6 * largest,
                                   err_msg=name)


# ---------------------------------------------------------------- by the Trainer
def trained(config, *options):
    """(Trainer after its run, learning rates by batch): deterministic, with a quick average."""
    rates = []

    class Watch(Hook):
        def after_step(self, status):
            rates.append(status.learning_rate)
    paddle.seed(0)
    trainer = trainer_of(config, ["RTDETRTransformer.num_denoising=0", "TrainReader.sample_transforms=[Decode: {}]",
                                  "ema_decay=0.5", "ema_decay_type=normal", "use_ema=true", "TrainReader.shuffle=false",
                                  *options])
    trainer.hooks.append(Watch())
    trainer.train()
    return trainer, rates


def test_gradients_take_no_memory_between_steps(tiny_config):
    for steps in (1, 2):
        model = trained(tiny_config, f"accumulate_steps={steps}", "epoch=1")[0].model
        assert all(parameter.grad is None for parameter in model.parameters())


def test_a_grouped_run_counts_steps_not_batches(tiny_config):
    """8 pictures in batches of 2, 3 at once: 4 batches an epoch become 2 steps; schedule and average count these."""
    trainer, rates = trained(tiny_config, "TrainReader.batch_size=2", "accumulate_steps=3", "epoch=2")
    assert trainer.lr.last_epoch == 4 and trainer.ema.step == 4
    # warm-up over two steps, then base_lr, and a tenth from the second epoch (step 2) on
    first = 0.001 / 3
    assert rates == pytest.approx([first] * 3 + [0.001 * 2 / 3] + [0.001 * 0.1] * 4)
    moved = [value for name, value in trainer.optimizer.state_dict().items() if name.endswith("beta1_pow_acc_0")]
    assert float(moved[0]) == pytest.approx(0.9 ** 5, rel=1e-5)


def test_kernels_are_on_while_training_and_evaluating(tiny_config):
    seen = set()

    class Watch(Hook):
        def after_step(self, status):
            seen.add(("train", kernels.active()))

        def after_evaluation_step(self, status):
            seen.add(("evaluation", kernels.active()))
    for mode in ("train", "eval"):
        trainer = trainer_of(tiny_config, ["epoch=1"], mode)
        trainer.hooks.append(Watch())
        trainer.train(validate=True) if mode == "train" else trainer.evaluate()
        assert ("evaluation", True) in seen and not kernels.active()
    assert seen == {("train", True), ("evaluation", True)}


@pytest.mark.parametrize("option, words", [
    ("to_static: true", "to_static: training runs layer by layer"),
    ("unstructured_prune: true", "unstructured_prune: pruning while training is not supported"),
    ("print_flops: true", "print_flops: operations are not counted here"),
    ("slim: Distill", "slim: PaddleSlim's ways to train"),
    ("save_proposals: true", "save_proposals: proposals are SNIPER's"),
    ("metric: WiderFace", "metric is 'WiderFace', not one of COCO, VOC"),
    ("architecture: JDE\nnormalization: {mean: [0., 0., 0.], std: [1., 1., 1.]}", "architecture JDE tracks objects"),
])
def test_what_is_not_supported_is_said(tiny_config, option, words):
    tiny_config.write_text(tiny_config.read_text() + option + "\n")
    with pytest.raises(UserError, match=words) as caught:
        trainer_of(tiny_config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["fleet=true", "use_fused_allreduce_gradients=false"])
def test_what_makes_no_difference_is_said(tiny_config, caplog, option):
    logger = logging.getLogger("ppdet.engine")
    logger.addHandler(caplog.handler)
    try:
        trainer_of(tiny_config, [option])
    finally:
        logger.removeHandler(caplog.handler)
    assert option.split("=")[0] in caplog.text and "NO effect" in caplog.text


def test_an_evaluation_within_an_evaluation_leaves_gradients_on():
    """As the raw weights' beside the average's."""
    class Again(Hook):
        def after_evaluation(self, status):
            run_evaluation(nn.Layer(), [], [], Precision(), Status())
            assert not paddle.is_grad_enabled()

    run_evaluation(nn.Layer(), [], [], Precision(), Status(), [Again()])
    assert paddle.is_grad_enabled()
