# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Alignment: projections by least squares, steps, statistics, an interruption; what lies behind stays as it is."""
import os
import signal

import numpy as np
import paddle
import pytest
from support.two_networks import SAME, Net, batches, teacher

from ppdet_ext.errors import Interrupted, UserError
from ppdet_ext.swap import align
from ppdet_ext.swap.projections import Fit, at_size_of
from ppdet_ext.swap.teacher import normalized_again

SHORT = {"align_steps": 6, "align_batches": 4, "align_warmup": 1, "align_lr_random": 1e-2, "align_lr_pretrained": 1e-3,
         "align_ridge": 1e-6, "align_clip": 1.0}


def state(net):
    return {name: value.numpy() for name, value in net.state_dict().items()}


def test_projections_are_solved_for_where_the_backbone_is_the_teachers():
    old, new = teacher(), Net()
    new.backbone.set_state_dict(old.net.backbone.state_dict())
    found = align.align(new, batches(old), {**SHORT, "align_steps": 0}, start="pretrained")
    assert min(found.loss_before) > 0.1 and max(found.loss_after) < 1e-4 and min(found.cosine_after) > 0.999
    image = paddle.randn([2, 3, 16, 16])
    new.eval()
    for mine, theirs in zip(align.projected(new, image), old.features(image, SAME)):
        assert np.abs(mine.numpy() - theirs.numpy()).max() < 0.05


def test_a_projections_rows_stay_as_long_as_fresh_ones():
    new, fit = Net(), Fit()
    fresh = np.linalg.norm(new.neck.input_proj[0][0].weight.numpy()) / 2
    fit.add(paddle.randn([4, 6, 8, 8]) * 50, paddle.randn([4, 4, 8, 8]))
    fit.write(new.neck.input_proj[0], 1e-2)
    rows = np.linalg.norm(new.neck.input_proj[0][0].weight.numpy().reshape(4, -1), axis=1)
    assert np.allclose(rows, fresh, rtol=1e-4)


def test_steps_lower_the_loss_of_a_random_backbone_and_leave_the_rest_alone():
    old = teacher()
    paddle.seed(5)
    new = Net(width=8)
    head = new.head.weight.numpy()
    solved = align.align(new, batches(old), {**SHORT, "align_steps": 0}, start="random")
    found = align.align(new, batches(old), {**SHORT, "align_steps": 40}, start="random")
    assert max(solved.loss_after) < 1.0
    assert sum(found.loss_after) < 0.9 * sum(solved.loss_after)
    assert np.array_equal(head, new.head.weight.numpy()) and new.training


@pytest.mark.parametrize("start", ["random", "random_bn", "pretrained"])
@pytest.mark.parametrize("steps, warm_up", [(50, 20), (10, 20), (50, 0)])
def test_the_rate_goes_up_in_a_line_and_down_as_a_cosine(start, steps, warm_up, monkeypatch):
    rates = []
    monkeypatch.setattr(paddle.optimizer.AdamW, "set_lr", lambda self, rate: rates.append(rate))
    settings = {**SHORT, "align_steps": steps, "align_warmup": warm_up, f"align_lr_{start}": 0.01}
    align.align(Net(), batches(teacher()), settings, start)
    cosine = 0.005 * (1 + np.cos(np.pi * np.arange(steps) / steps))
    assert np.allclose(rates, cosine * np.minimum(1, np.arange(1, steps + 1) / max(warm_up, 1)))


def test_the_same_seed_gives_the_same_weights():
    results = []
    for _ in range(2):
        old = teacher()
        paddle.seed(3)
        new = Net()
        align.align(new, batches(old, seed=4), SHORT, start="random")
        results.append(state(new))
    assert all(np.array_equal(results[0][name], results[1][name]) for name in results[0])


def test_statistics_are_those_of_the_weights_at_the_end():
    old, new = teacher(), Net()
    kept = list(batches(old, seed=9, count=4))
    align._Own(new).measure_statistics(kept)
    first = new.backbone.first[0](paddle.concat([image for image, _ in kept]))
    assert np.allclose(new.backbone.first[1]._mean.numpy(), first.mean([0, 2, 3]).numpy(), atol=1e-5)
    assert new.backbone.first[1]._momentum == 0.9


def test_frozen_statistics_stay():
    new = Net()
    norm = new.backbone.first[1]
    norm._use_global_stats = True
    align._Own(new).measure_statistics(batches(teacher(), count=2))
    assert not norm._mean.numpy().any()


def interrupting(old, after):
    for number, batch in enumerate(batches(old)):
        if number == after:
            os.kill(os.getpid(), signal.SIGINT)
        yield batch


def test_ctrl_c_keeps_what_was_learnt_and_the_same_call_goes_on(tmp_path, log):
    old, new = teacher(), Net()
    with pytest.raises(Interrupted, match="after step 2 of 6; saved as .*; to go on: the same command"):
        align.align(new, interrupting(old, SHORT["align_batches"] + 2), SHORT, "random", tmp_path)
    learnt = new.backbone.first[0].weight.numpy()
    again, seen = Net(), []
    steps = ((seen.append(1), batch)[1] for batch in batches(old))
    with log.at_level("INFO", "ppdet.engine"):
        align.align(again, steps, {**SHORT, "align_steps": 2}, "random", tmp_path)
    assert np.array_equal(again.backbone.first[0].weight.numpy(), learnt) and len(seen) == SHORT["align_batches"]
    assert "goes on after step 2" in log.text and not list(tmp_path.iterdir())


def test_a_state_of_another_backbone_is_left(tmp_path, log):
    align._Own(Net(width=5)).save(tmp_path, 3)
    assert align._Own(Net()).resume(tmp_path) == 0 and "another backbone" in log.text


def test_a_loss_that_is_not_finite_is_one_line():
    with pytest.raises(UserError, match="align_lr_random .* smaller"):
        align.align(Net(), batches(teacher()), {**SHORT, "align_lr_random": 1e30}, start="random")


@pytest.mark.parametrize("settings, message", [({"levels": 1}, "has 1 levels, the old one 2"),
                                               ({"hidden": 8}, "hidden_dim is 8, of the checkpoint 4")])
def test_networks_that_do_not_fit(settings, message):
    with pytest.raises(UserError, match=message):
        align.check_fit(Net(**settings), teacher().net)


def test_other_strides_are_brought_to_one_size():
    old, new = teacher(), Net(stride=4)
    found = align.align(new, batches(old), SHORT, start="random")
    assert max(found.loss_after) < 1
    coarse = at_size_of([paddle.ones([1, 2, 8, 8])], [paddle.zeros([1, 5, 2, 4])])[0]
    assert coarse.shape == [1, 2, 2, 4] and float(coarse.mean()) == 1


def test_each_network_sees_its_own_normalisation():
    picture = paddle.rand([1, 3, 4, 4])
    given, wanted = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))

    def normalized(values):
        mean, std = (paddle.to_tensor(value).reshape([3, 1, 1]) for value in values)
        return (picture - mean) / std
    again = normalized_again(normalized(given), given, wanted)
    assert np.allclose(again.numpy(), normalized(wanted).numpy(), atol=1e-6)
    assert normalized_again(picture, given, given) is picture


def test_the_optimizer_of_training_files_its_state_as_ever():
    """A run that goes on aligns nothing: it must find the state under the same names."""
    names = []
    for aligns in (False, True):
        paddle.utils.unique_name.switch()
        new = Net()
        optimizer = paddle.optimizer.AdamW(1e-3, parameters=new.parameters())
        if aligns:
            align.align(new, batches(teacher()), {**SHORT, "align_steps": 1}, start="random")
        new.head(paddle.ones([1, 4])).sum().backward()
        optimizer.step()
        names.append(set(optimizer.state_dict()))
    assert names[0] == names[1] and any("moment1" in name for name in names[0])
