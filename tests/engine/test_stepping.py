# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Batches that count as one, and activations computed twice: the same gradients as without."""
import numpy as np
import paddle
import pytest
from paddle import nn
from support.detector_cases import build_detector, frozen_norm_train, train_batch

from ppdet_ext import cli
from ppdet_ext.engine.precision import Precision
from ppdet_ext.engine.stepping import Steps
from ppdet_ext.engine.trainer import Trainer
from ppdet_ext.errors import UserError

IDLE = Precision().scaler()
ENCODER = {"name": "TransformerLayer", "d_model": 32, "nhead": 2, "dim_feedforward": 32, "dropout": 0.1,
           "activation": "gelu"}
SMALL = {
    "hidden_dim": 32, "num_classes": 5, "eval_size": None, "norm_type": "bn",
    "ResNet": {"depth": 18, "freeze_at": -1, "freeze_norm": False, "lr_mult_list": [1.0] * 4},
    "HybridEncoder": {"hidden_dim": 32, "depth_mult": 0.34, "encoder_layer": ENCODER},
    "RTDETRTransformer": {"num_queries": 20, "num_decoder_layers": 2, "dim_feedforward": 32, "nhead": 2, "dropout": 0.1,
                          "num_denoising": 10},
}
NO_CHANCE = {
    **SMALL, "RTDETRTransformer": {**SMALL["RTDETRTransformer"], "dropout": 0.0, "num_denoising": 0},
    "HybridEncoder": {**SMALL["HybridEncoder"], "encoder_layer": {**ENCODER, "dropout": 0.0}},
}


class Regression(nn.Layer):
    """Its training loss is the mean over the batch, so that halves average to the whole."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs):
        return {"loss": (self.layer(inputs) ** 2).mean()}


def gradients(model):
    return {name: parameter.grad.numpy().copy() for name, parameter in model.named_parameters()
            if parameter.grad is not None}


def test_gradients_of_a_group_are_those_of_the_whole_batch():
    model, data = Regression(), paddle.rand([8, 3])
    model(data)["loss"].backward()
    wanted = gradients(model)
    model.clear_gradients()
    steps, losses = Steps(4, 4, IDLE), []
    with steps.applied(model):
        for part in data.split(4):
            losses.append(model(part)["loss"])
            losses[-1].backward()
    for name, value in gradients(model).items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-5)
    # the loss itself stays what it is, for the log
    assert float(losses[0]) == pytest.approx(float(model(data[:2])["loss"]), rel=1e-6)
    assert "forward" not in vars(model)


def test_the_last_group_of_an_epoch_may_be_smaller():
    model, steps = Regression(), Steps(5, 2, IDLE)
    complete, slopes = [], []
    with steps.applied(model):
        for _ in range(10):
            model.clear_gradients()
            model(paddle.ones([2, 3]))["loss"].backward()
            complete.append(steps.complete)
            slopes.append(float(model.layer.bias.grad))
    assert complete == [False, True, False, True, True] * 2 and steps.per_epoch == 3
    assert np.array(slopes) / slopes[4] == pytest.approx([0.5, 0.5, 0.5, 0.5, 1.0] * 2)


@pytest.mark.parametrize("every", [0, -1, 2.0, True, "2"])
def test_a_wrong_number_is_refused(every):
    with pytest.raises(UserError, match="accumulate_steps is .*; it takes the number of batches"):
        Steps(4, every, IDLE)


def test_fleet_is_refused(tiny_config):
    args = cli.config_parser("").parse_args(["-c", str(tiny_config), "-o", "accumulate_steps=2", "fleet=true"])
    with pytest.raises(UserError, match="--fleet goes with neither"):
        Trainer(cli.load_cfg(args, "train"), "train")


def trained(config, *options):
    """A Trainer after its run: deterministic, with frozen norms, so that a batch's loss is its pictures' own."""
    fixed = ["RTDETRTransformer.num_denoising=0", "TrainReader.sample_transforms=[Decode: {}]", "ema_decay=0.5",
             "ema_decay_type=normal", "use_ema=true", "TrainReader.shuffle=false", *options]
    paddle.seed(0)
    args = cli.config_parser("").parse_args(["-c", str(config), "-o", *fixed])
    trainer = Trainer(cli.load_cfg(args, "train"), "train")
    rates, step = [], trainer.optimizer.step

    def counted():
        rates.append(trainer.optimizer.get_lr())
        step()
    trainer.optimizer.step = counted
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


def test_a_detectors_group_averages_its_batches():
    """Norms frozen, no dropout or denoising: the group's gradient is the mean of its batches', each as it is alone."""
    model = frozen_norm_train(build_detector(**NO_CHANCE))
    batches = [train_batch(64, 64, count, num_classes=5) for count in (1, 2)]
    alone = []
    for batch in batches:
        model(batch)["loss"].backward()
        alone.append(gradients(model))
        model.clear_gradients()
    with Steps(2, 2, IDLE).applied(model):
        for batch in batches:
            model(batch)["loss"].backward()
    found = gradients(model)
    largest = max(np.abs(value).max() for value in found.values())
    for name, value in found.items():
        wanted = (alone[0][name] + alone[1][name]) / 2
        np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=1e-6 * largest, err_msg=name)


# ---------------------------------------------------------------- recompute
BACKBONES = {"ppdet's ResNet": {}, "native": {"DETR": {"backbone": "TimmBackbone"}, "TimmBackbone": {
    "arch": "tf_efficientnet_lite0", "pretrained": False}}, "bridged": {"DETR": {"backbone": "TimmBackbone"},
    "TimmBackbone": {"arch": "pvt_v2_b0", "pretrained": False}}}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_recomputing_changes_no_gradient(backbone):
    """With dropout, BatchNorm in training and denoising: loss, gradients and statistics are equal."""
    sections = {**SMALL, **BACKBONES[backbone]}

    def run(recompute):
        model = build_detector(**sections).train()
        for part in (getattr(model.backbone, "model", model.backbone), model.neck, model.transformer.decoder):
            assert part.recompute is False
            part.recompute = recompute
        paddle.seed(1)
        total = model(train_batch(64, 64, 2, num_classes=5))["loss"]
        total.backward()
        statistics = {name: value.numpy() for name, value in model.state_dict().items() if name.endswith("_mean")}
        return float(total), gradients(model), statistics
    plain, again = run(False), run(True)
    assert again[0] == plain[0] and again[1].keys() == plain[1].keys() and len(plain[1]) > 100
    largest = max(np.abs(value).max() for value in plain[1].values())
    for name, value in plain[1].items():
        np.testing.assert_allclose(again[1][name], value, rtol=1e-3, atol=1e-6 * largest, err_msg=name)
    for name, value in plain[2].items():
        np.testing.assert_array_equal(again[2][name], value, err_msg=name)


def test_recompute_is_a_key_of_every_part():
    model = build_detector(**{**SMALL, "ResNet": {**SMALL["ResNet"], "recompute": True},
                              "HybridEncoder": {**SMALL["HybridEncoder"], "recompute": True},
                              "RTDETRTransformer": {**SMALL["RTDETRTransformer"], "recompute": True}})
    assert model.backbone.recompute and model.neck.recompute and model.transformer.decoder.recompute
