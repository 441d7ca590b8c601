# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Layers that backbones, graphs and the detector share."""
import numpy as np
import paddle
import pytest

from ppdet_ext import nn
from ppdet_ext.nn import window


class TestDropPath:
    def dropped(self, shape=(400, 3, 2), **settings):
        return nn.DropPath(**settings).train()(paddle.ones(shape)).numpy()

    def test_samples_are_dropped_whole_and_the_others_scaled(self):
        found = self.dropped(rate=0.25)
        assert np.ptp(found, axis=(1, 2)).max() == 0
        values, counts = np.unique(found[:, 0, 0], return_counts=True)
        assert np.allclose(values, [0, 1 / 0.75]) and 70 < counts[0] < 130

    def test_one_draw_for_the_whole_batch(self):
        found = [self.dropped((4, 1), rate=0.5, per_sample=False) for _ in range(40)]
        assert all(np.ptp(each) == 0 for each in found) and {float(each[0, 0]) for each in found} == {0.0, 2.0}

    def test_unscaled(self):
        assert set(np.unique(self.dropped(rate=0.25, scale_by_keep=False))) == {0.0, 1.0}

    def test_all_dropped_is_zero_and_no_nan(self):
        assert (self.dropped(rate=1.0) == 0).all()

    def test_nothing_happens_outside_training(self):
        x = paddle.rand([4, 3])
        assert nn.DropPath(0.5).eval()(x) is x
        assert type(nn.drop_path(0.0)) is paddle.nn.Identity and nn.drop_path(0.1).rate == 0.1

    def test_any_batch_size_in_a_static_graph(self):
        layer = nn.DropPath(0.5).train()
        static = paddle.jit.to_static(layer, input_spec=[paddle.static.InputSpec([None, 2, 3, 4])], full_graph=True)
        found = static(paddle.ones([64, 2, 3, 4])).numpy()
        assert found.shape == (64, 2, 3, 4) and set(np.unique(found)) == {0.0, 2.0}


@pytest.mark.parametrize("make", [nn.batch_norm_without_decay, nn.layer_norm_without_decay])
def test_norms_without_decay(make):
    """An optimizer's regularizer passes them by, and decays a plain one."""
    norm, plain = make(4), paddle.nn.LayerNorm(4)
    parameters = [*norm.parameters(), *plain.parameters()]
    optimizer = paddle.optimizer.SGD(1.0, parameters=parameters, weight_decay=paddle.regularizer.L2Decay(0.5))
    (norm(paddle.zeros([2, 4, 1, 1] if norm.__class__.__name__.startswith("Batch") else [2, 4])).sum() * 0.0
     + plain(paddle.zeros([2, 4])).sum() * 0.0).backward()
    optimizer.step()
    assert norm.weight.tolist() == [1.0] * 4 and plain.weight.tolist() == [0.5] * 4


def test_a_map_normalised_over_its_channels():
    x = paddle.rand([2, 5, 3, 4])
    wanted = paddle.nn.functional.layer_norm(x.transpose([0, 2, 3, 1]), 5, epsilon=1e-6).transpose([0, 3, 1, 2])
    np.testing.assert_array_equal(nn.LayerNorm2d(5)(x).numpy(), wanted.numpy())


def test_windows_split_and_join_are_inverse():
    x = paddle.rand([2, 4, 6, 3])
    windows = window.split_windows(x, 2)
    assert windows.shape == [2, 6, 4, 3]
    np.testing.assert_array_equal(windows.numpy()[0, 1].reshape(2, 2, 3), x.numpy()[0, :2, 2:4])
    np.testing.assert_array_equal(window.join_windows(windows, 2, (4, 6)).numpy(), x.numpy())


def test_make_divisible_never_loses_a_tenth():
    assert [nn.make_divisible(value) for value in (3, 12, 20.1, 44)] == [8, 16, 24, 48]
    assert nn.make_divisible(11) == 16  # 8 would be less than nine tenths
