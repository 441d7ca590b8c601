# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Transposed copies: Paddle's values and gradients of every order, and views stay as they were."""
import itertools

import numpy as np
import paddle
import pytest

from ppdet_ext.kernels.transpose import VIEWS, transposed


def tensor(*shape):
    x = paddle.to_tensor(np.random.RandomState(0).randn(*shape), "float32")
    x.stop_gradient = False
    return x


@pytest.mark.parametrize("order", [*itertools.permutations(range(3)), (0, -1, 1), [2, 0, 1]])
def test_values_and_gradients(order):
    results = []
    for function in (transposed, paddle.transpose):
        x = tensor(2, 3, 4)
        y = function(x * 1.0, list(order))
        first, = paddle.grad((y ** 3 * paddle.arange(24.0).reshape(y.shape)).sum(), [x], create_graph=True)
        results.append([y, first, *paddle.grad((first ** 2).sum(), [x])])
    for one, other in zip(*results):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_it_is_a_copy_and_views_are_possible_afterwards():
    x = tensor(2, 3, 4).detach()
    y = transposed(x, [2, 1, 0])
    assert y.is_contiguous() and not transposed(tensor(2, 3, 4), [2, 1, 0]).stop_gradient
    assert paddle.get_flags(VIEWS)[VIEWS]
    rows = paddle.zeros([2, 3])
    rows[:, paddle.to_tensor([0, 2])] = 1.0
    assert rows.sum() == 4
    with pytest.raises(ValueError, match="transpose|perm|axis|dim"):
        transposed(x, [0, 1])
    assert paddle.get_flags(VIEWS)[VIEWS]


def test_views_and_gradients_that_are_views():
    x = tensor(4, 6, 5)
    part = x[1:3, ::2]
    y = transposed(part, [2, 0, 1])
    np.testing.assert_array_equal(y.numpy(), part.numpy().transpose(2, 0, 1))
    wanted = paddle.arange(30.0).reshape([3, 2, 5])
    y.transpose([2, 1, 0]).backward(wanted)
    np.testing.assert_array_equal(x.grad.numpy()[1:3, ::2], wanted.numpy().transpose(1, 0, 2))


def test_a_static_graph_has_paddles_own():
    class Layer(paddle.nn.Layer):
        def forward(self, x):
            return transposed(x, [1, 0])

    static = paddle.jit.to_static(Layer(), input_spec=[paddle.static.InputSpec([None, 3])], full_graph=True)
    assert "transpose" in str(static.forward.concrete_program.main_program)
    np.testing.assert_array_equal(static(paddle.ones([2, 3])).numpy(), np.ones([3, 2], "float32"))
