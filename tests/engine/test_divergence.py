# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A training whose numbers are no longer finite ends in one line, and overwrites nothing."""
import types

import numpy as np
import paddle
import pytest
from paddle import nn
from support.detector_cases import build_detector, eval_batch, train_batch
from support.small_detector import SMALL
from support.trainers import trainer_of

from ppdet_ext.engine import checkpointer, divergence, load_weights
from ppdet_ext.engine.hooks import Hook, Status
from ppdet_ext.errors import NotFinite, UserError

STATUS = Status(epoch=3, step=7)


def watch_of(model):
    return divergence.Watch(model, types.SimpleNamespace(
        roidbs=[{"im_id": np.array([number]), "im_file": f"{number}.jpg"} for number in range(20)]))


def batch(*images):
    return {"im_id": paddle.to_tensor([[image] for image in images])}


def test_the_line_names_the_batch_the_term_and_no_parameter_where_all_are_finite():
    watch = watch_of(nn.Linear(2, 2))
    losses = {"loss_class": paddle.ones([]), "loss_giou": paddle.full([], np.nan), "loss": paddle.full([], np.nan)}
    with pytest.raises(UserError) as caught, watch.batch(batch(4, 2), STATUS):
        watch.check(losses)
    line = str(caught.value)
    assert line.startswith("the loss became nan, first of all loss_giou at epoch 3, step 7 (images: '4.jpg', '2.jpg'; "
                           "all parameters are finite), and no checkpoint was written from it: lower")
    assert "\n" not in line


def test_any_error_of_weights_that_are_nan_names_the_step_that_made_them():
    model = nn.Linear(2, 2)
    watch = watch_of(model)
    for images in ((1,), (2, 3)):  # two batches make a step
        with watch.batch(batch(*images), STATUS):
            pass
    watch.weights_moved()
    model.bias.set_value(np.array([1, np.inf], "float32"))
    with pytest.raises(UserError) as caught, watch.batch(batch(9), STATUS):
        raise ValueError("(InvalidArgument) index -2147483648\nis out of range")
    assert str(caught.value).startswith(
        "the training diverged at epoch 3, step 7 (images: '9.jpg'; first parameter that is not finite: bias, since "
        "the step on '1.jpg', '2.jpg', '3.jpg')")


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), watch_of(nn.Linear(2, 2)).batch(batch(1), STATUS):
        raise ZeroDivisionError


def test_long_batches_are_cut_short_and_unknown_files_have_their_number():
    watch = watch_of(nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"im_id 77, '0.jpg', .*'6.jpg' and 3 more;"), \
            watch.batch(batch(77, *range(10)), STATUS):
        raise NotFinite("x")


# ---------------------------------------------------------------- the detector
def broken_detector():
    model = build_detector(**SMALL)
    with paddle.no_grad():
        model.transformer.enc_score_head.weight.set_value(
            np.full(model.transformer.enc_score_head.weight.shape, np.nan, "float32"))
    return model


def test_the_detector_says_so_before_topk_finds_no_index():
    model = broken_detector()
    model.train()
    with pytest.raises(NotFinite, match="predictions became NaN or infinite while matching"):
        model(train_batch(64, 64, 2, num_classes=5))
    model.eval()
    with pytest.raises(NotFinite, match="the encoder's scores are NaN or infinite"), paddle.no_grad():
        model(eval_batch(64, 64))


def test_a_run_stops_before_weights_of_nan_are_saved(tiny_config, tmp_path):
    class Break(Hook):
        """The gradient of the epoch's last step is NaN, as an overflow makes it; nothing in the loop has seen it."""

        def after_step(self, status):
            if status.epoch == 1 and status.step == status.steps_per_epoch - 1:
                name, parameter = next(iter(trainer.model.named_parameters()))
                parameter.set_value(np.full(parameter.shape, np.nan, "float32"))
                broken.append(name)
    broken = []
    trainer = trainer_of(tiny_config, ["epoch=3", "use_ema=false"])
    trainer.hooks.insert(0, Break())
    with pytest.raises(UserError, match="is not finite .* no checkpoint is written from it") as caught:
        trainer.train()
    assert broken[0] in str(caught.value)
    assert sorted(path.name for path in trainer.output.glob("*.pdparams")) == ["0.pdparams"]
    load_weights.load_exact(trainer.model, trainer.output / "0.pdparams")
    assert not divergence.first_not_finite(trainer.model.state_dict())


def test_the_loop_names_the_files_of_a_real_batch(tiny_config):
    class Break(Hook):
        def after_step(self, status):
            parameter = trainer.model.neck.input_proj[0][0].weight
            parameter.set_value(np.full(parameter.shape, np.nan, "float32"))
    trainer = trainer_of(tiny_config, ["epoch=1", "TrainReader.batch_size=2"])
    trainer.hooks.append(Break())
    with pytest.raises(UserError, match=r"predictions became NaN or infinite before sampling at epoch 0, step 1 "
                                        r"\(images: '.*\.(png|jpg)', '.*'; first parameter that is not finite: "
                                        r"neck.input_proj.0.0.weight, since the step on '.*\.(png|jpg)', '.*'\)"):
        trainer.train()


# ---------------------------------------------------------------- files
def test_weights_of_nan_are_neither_saved_nor_loaded(tmp_path):
    layer = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1D(2))
    good = {name: value.clone() for name, value in layer.state_dict().items()}
    for average in (None, good):
        divergence.require_finite(layer, good, average)
    bad = {**good, "0.weight": paddle.full([2, 2], np.nan)}
    for states in ((bad, None), (good, bad)):
        with pytest.raises(UserError, match="0.weight is not finite"):
            divergence.require_finite(layer, *states)
    optimizer = paddle.optimizer.SGD(parameters=layer.parameters())
    checkpointer.save(tmp_path / "bad", bad, optimizer, 1)
    for load in (load_weights.load_exact, load_weights.load_pretrained):
        with pytest.raises(UserError, match=r"bad.*0.weight holds NaN or infinite numbers \(4 of 4\)") as caught:
            load(layer, tmp_path / "bad.pdparams")
        assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(layer[0].weight, good["0.weight"])
