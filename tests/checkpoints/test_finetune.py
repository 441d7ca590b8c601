# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A COCO checkpoint onto a data set with other classes, and ``pretrain_weights`` from any project's file."""
import logging
import math

import numpy as np
import paddle
import pytest
from support.small_checkpoints import assert_same, save_paddle, small, weights_of
from support.trainers import trainer_of

from ppdet_ext.checkpoints import convert_detector, finetune, name_rules
from ppdet_ext.data import class_names as class_names
from ppdet_ext.engine import load_weights
from ppdet_ext.errors import UserError

PRIOR = -math.log(99)  # the logit of one per cent
BIASES = ["transformer.enc_score_head.bias", "transformer.dec_score_head.0.bias", "transformer.dec_score_head.1.bias"]
LABELS = "transformer.denoising_class_embed.weight"


def values(net):
    return {name: value.numpy().copy() for name, value in net.state_dict().items()}


@pytest.fixture
def pair(tmp_path):
    """A model for 3 classes, and weights for 5."""
    return small(tmp_path, "v1"), weights_of(small(tmp_path, "v1", classes=5))


def test_class_dependent_tensors_start_anew_and_the_rest_is_kept(pair):
    model, five = pair
    model.net.set_state_dict({name: paddle.full_like(value, 7) for name, value in model.net.state_dict().items()})
    start = finetune.fit_classes(five, model.net)
    reset = {name for name in five if five[name].shape != start.state[name].shape}
    assert reset == {*BIASES, *(name.replace("bias", "weight") for name in BIASES), LABELS}
    assert_same({name: value for name, value in start.state.items() if name not in reset},
                {name: value for name, value in five.items() if name not in reset})
    for name in BIASES:
        np.testing.assert_allclose(start.state[name], PRIOR, rtol=1e-6)
        weight = start.state[name.replace("bias", "weight")]
        assert weight.shape == (32, 3) and 0 < np.abs(weight).max() <= 1 / math.sqrt(32) + 1e-6
    assert 0.5 < start.state[LABELS].std() < 1.5
    kept, anew, copied = start.lines
    assert f"kept: {len(five) - 7} of {len(five)}" in kept and "rows copied (class_map): 0 of 3" in copied
    assert "reset: 7 tensors (5 classes -> 3" in anew and "dec_score_head.0...1.weight (2)" in anew


def test_rows_of_mapped_classes_are_copied(pair):
    model, five = pair
    start = finetune.fit_classes(five, model.net, {"cat": "feline", 0: 4}, ["ox", "cat", "dog"],
                                 ["a", "b", "feline", "d", "e"])
    for name in BIASES:
        weight = name.replace("bias", "weight")
        for own, other in ((1, 2), (0, 4)):
            assert start.state[name][own] == five[name][other]
            np.testing.assert_array_equal(start.state[weight][:, own], five[weight][:, other])
        assert start.state[name][2] == pytest.approx(PRIOR)
    np.testing.assert_array_equal(start.state[LABELS][[1, 0]], five[LABELS][[2, 4]])
    assert start.lines[-1].endswith("2 of 3 classes: cat (1) from feline (2), ox (0) from e (4)")


def test_as_many_classes_are_kept_unless_mapped(pair, tmp_path):
    model, _ = pair
    three = weights_of(model)
    assert finetune.fit_classes(three, model.net).state is three
    mapped = finetune.fit_classes(three, model.net, {0: 1}).state
    assert mapped[BIASES[0]][0] == three[BIASES[0]][1] and mapped[BIASES[0]][1] == pytest.approx(PRIOR)


@pytest.mark.parametrize("class_map, words", [
    ({"kat": 0}, "this data set has no class 'kat'; did you mean cat"),
    ({"cat": "person"}, "'person': the class names of the checkpoint are not known; give a number from 0 to 4"),
    ({"cat": 5}, "'5'.*from 0 to 4"),
    ({3: 0}, "this data set has no class '3'"),
    (["cat"], "write one line a class"),
])
def test_wrong_class_maps(pair, class_map, words):
    model, five = pair
    with pytest.raises(UserError, match=words):
        finetune.fit_classes(five, model.net, class_map, ["ox", "cat", "dog"])


def test_a_checkpoint_for_80_classes_is_cocos():
    assert finetune.pair_classes({"auto": "car", 1: "person"}, (2, ["auto", "x"]), (80, None)) == [(0, 2), (1, 0)]


@pytest.mark.torch
@pytest.mark.parametrize("project, output", [("paddledet", "a.pdparams"), ("torch", "a.pth"),
                                             ("torch", "a.safetensors"), ("hf", "folder")])
def test_pretrain_weights_of_any_project(tmp_path, project, output, log):
    pytest.importorskip("torch", reason="writes a .pth")
    model = small(tmp_path, "v2")
    wanted = weights_of(model)
    found = convert_detector.convert(model, save_paddle(wanted, tmp_path / "start.pdparams"), project)
    convert_detector.write(found, tmp_path / output)
    log.set_level(logging.INFO, "ppdet.engine")
    said = load_weights.load_pretrained(model.net, tmp_path / output)
    assert said.endswith(f"({name_rules.TITLES[project]}'s format)")
    assert f"{len(wanted)} tensors in {name_rules.TITLES[project]}'s names" in log.text
    assert_same(values(model.net), wanted)


def test_low_coverage_is_an_error_whatever_may_be_missing(tmp_path):
    model = small(tmp_path, "v1")
    before = values(model.net)
    some = {name: value for name, value in weights_of(model).items() if name.startswith("backbone.conv1.")}
    save_paddle(some, tmp_path / "some.pdparams")
    with pytest.raises(UserError, match="only 15 of the 4.. parameters of DETR .*another network's"):
        load_weights.load_pretrained(model.net, tmp_path / "some.pdparams", allow=["*"])
    with pytest.raises(UserError, match="allow_missing"):
        load_weights.load_pretrained(model.net, tmp_path / "some.pdparams")
    lacking = {name: value for name, value in weights_of(model).items() if name != "neck.lateral_convs.0.bn.bias"}
    torch_names = model.name_map("torch").from_paddle(lacking)
    paddle.save({name: paddle.to_tensor(np.array(value)) for name, value in torch_names.items()},
                str(tmp_path / "lacking.pdparams"))
    with pytest.raises(UserError, match="missing: 1: neck.lateral_convs.0.bn.bias"):
        load_weights.load_pretrained(model.net, tmp_path / "lacking.pdparams")
    assert_same(values(model.net), before)


def test_training_starts_from_a_coco_checkpoint(tiny_config, tmp_path):
    """Through the config: 80 classes onto the digits, of which one is mapped."""
    trainer = trainer_of(tiny_config)
    coco = values(trainer.model)
    random = np.random.RandomState(0)
    for name, value in coco.items():
        axis = name_rules.class_axis(name)
        if axis is not None:
            coco[name] = random.rand(*(80 if place == axis else size
                                       for place, size in enumerate(value.shape))).astype("float32")
    save_paddle(coco, tmp_path / "coco.pdparams")
    own = class_names.of_data_set(trainer.cfg)
    trainer = trainer_of(tiny_config, [f"class_map={{{own[1]!r}: bicycle}}"])
    trainer.load_weights(str(tmp_path / "coco.pdparams"))
    bias = trainer.model.state_dict()[BIASES[0]].numpy()
    assert bias[1] == coco[BIASES[0]][1] and bias[0] == pytest.approx(PRIOR)
    assert "PaddleDetection's format" in trainer.started_from
