# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A training whose numbers are no longer finite ends in one line, and overwrites nothing."""
import re
import types

import numpy as np
import paddle
import pytest
from paddle import nn
from support.detector_cases import build_detector, eval_batch, train_batch
from support.small_detector import SMALL
from support.trainers import trainer_of

from ppdet_ext.engine import checkpointer, divergence, load_weights, replay
from ppdet_ext.engine.hooks import Hook, Status
from ppdet_ext.engine.precision import Precision
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
                                        r"neck.input_proj.0.0.weight, since the step on '.*\.(png|jpg)', '.*'; "
                                        r"first layer whose output is not finite: neck.input_proj.0.0 \(Conv2D; its "
                                        r"weight is not finite\); the step is kept: train with --replay '.*'"):
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


# ---------------------------------------------------------------- the layer, and the step once more
class Deep(nn.Layer):
    """Two layers and a loss; the weight of ``second`` is what is broken."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.chance = nn.Linear(2, 3), nn.Linear(3, 1), nn.Dropout(0.5)

    def forward(self, data):
        return {"loss": (self.second(self.chance(self.first(data["image"]))) ** 2).sum()}


def kept_step(tmp_path, value, told=print):
    """(line of the error, path of the kept step) of a Deep whose second weight is ``value``."""
    model = Deep()
    model.second.weight.set_value(np.full([3, 1], value, "float32"))
    keeper = replay.Keeper(model, Precision(), tmp_path / "run" / replay.NAME, told)
    watch = divergence.Watch(model, types.SimpleNamespace(), keeper)
    data = {**batch(4), "image": paddle.rand([5, 2]), "gt_bbox": [paddle.rand([number, 4]) for number in (2, 11)]}
    with pytest.raises(UserError) as caught, watch.batch(data, STATUS):
        watch.check(model(data))
    return str(caught.value), keeper.path


@pytest.mark.parametrize("value, why", [
    (3e38, r"first layer whose output is not finite: second \(Linear; its input is finite, up to [\d.]+\)"),
    (np.nan, r"first layer whose output is not finite: second \(Linear; its weight is not finite\)"),
])
def test_the_line_names_the_layer_and_where_the_step_is_kept(tmp_path, value, why):
    told = []
    line, path = kept_step(tmp_path, value, told.append)
    assert re.search(why + f"; the step is kept: train with --replay '{path}' runs it again", line)
    assert len(told) == 1 and re.search(why, told[0]) and "\n" not in line


def test_a_layer_is_not_blamed_for_its_input():
    model = Deep()
    broken = {"image": paddle.full([5, 2], np.inf)}
    assert "first (Linear; its input is not finite, which no layer" in replay.first_layer(model, lambda: model(broken))
    assert replay.first_layer(model, lambda: model({"image": paddle.ones([5, 2])})) == ""


def test_a_kept_step_runs_again_with_its_weights_batch_and_chances(tmp_path, monkeypatch):
    line, path = kept_step(tmp_path, 3e38)
    weights, data, facts = replay.load(path)
    assert [tuple(box.shape) for box in data["gt_bbox"]] == [(2, 4), (11, 4)] and tuple(data["image"].shape) == (5, 2)
    assert set(weights) == set(Deep().state_dict()) and facts["images"] == ["im_id 4"]
    monkeypatch.setattr(replay, "create", lambda name: Deep())
    text = replay.replay({"architecture": "Deep"}, path)
    # the largest number after the dropout is the same only with the same chances
    where = re.search(r"first layer whose output is not finite: .*?\)", line).group()
    assert text.splitlines() == ["epoch 3, step 7: the loss became inf", "  image im_id 4", where]
    monkeypatch.setattr(replay, "create", lambda name: nn.Linear(2, 2))
    with pytest.raises(UserError, match="is of another network: bias"):
        replay.replay({"architecture": "Deep"}, path)


@pytest.mark.parametrize("content", [b"", b"{", b"\x80\x04.", bytes(100)])
def test_other_files_are_no_kept_steps(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="it is no step that a training has kept"):
        replay.load(path)
    with pytest.raises(UserError, match="there is no file"):
        replay.load(tmp_path / "nowhere")


def test_facts_of_a_kept_step_are_checked(tmp_path):
    from safetensors.numpy import save_file
    path = tmp_path / "x.safetensors"
    for facts in ("[]", "{}", '{"version": 1, "epoch": "x"}', "[" * 100_000):
        save_file({"weights/a": np.zeros(2)}, str(path), {replay.KEY: facts})
        with pytest.raises(UserError, match="it is no step that a training has kept"):
            replay.load(path)


def test_a_step_that_is_too_large_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "MOST", 10)
    line, path = kept_step(tmp_path, 3e38)
    assert "the step is not kept" in line and not path.exists() and "first layer" in line


def test_a_gradient_that_is_not_finite_is_named(tmp_path, monkeypatch):
    class Root(Deep):
        def forward(self, data):  # the root of 0 is finite, its slope is not
            return {"loss": (self.second(self.first(data["image"])) * 0).sqrt().sum()}
    path = tmp_path / "x.safetensors"
    model = Root()
    replay.save(path, model, {"image": paddle.ones([1, 2])}, {
        "version": replay.VERSION, "epoch": 0, "step": 1, "message": "m", "images": [], "random": {}})
    monkeypatch.setattr(replay, "create", lambda name: model)
    text = replay.replay({"architecture": "Root"}, path)
    assert "the losses are finite, but the gradient of second.bias (4 parameters) is not" in text
