# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Fully connected layers in training: the same values and gradients as Paddle's own, and Paddle's own elsewhere."""
import copy

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

from ppdet_ext.kernels import eager
from ppdet_ext.kernels.linear import Linear

paddle_linear = F.linear  # the kernels are off while this is imported


@pytest.fixture
def calls(monkeypatch):
    """The shapes that went through our Linear."""
    found, apply = [], Linear.apply
    monkeypatch.setattr(Linear, "apply", lambda x, *args: found.append(x.shape) or apply(x, *args))
    return found


def gradients(function, shape, learns, dtype):
    """The output and the gradients of input, weight and bias; a learning rate of its own for each."""
    paddle.seed(0)
    tensors = [paddle.randn(one, dtype) for one in (shape, [shape[-1], 5], [5])]
    for tensor, wanted in zip(tensors, learns):
        tensor.stop_gradient = not wanted
    y = function(*tensors)
    (y * paddle.arange(y.size, dtype=dtype).reshape(y.shape)).sum().backward()
    return [y, *(tensor.grad for tensor in tensors)]


@pytest.mark.parametrize("shape", [[3, 4], [2, 3, 4], [2, 1, 3, 4]])
@pytest.mark.parametrize("learns", [(1, 1, 1), (0, 1, 1), (1, 0, 1), (0, 0, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_gradients(calls, shape, learns, dtype):
    wanted = gradients(paddle_linear, shape, learns, dtype)
    found = gradients(F.linear, shape, learns, dtype)
    assert calls == [shape]
    for one, other in zip(found, wanted):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5 if dtype == "float32" else 1e-12)


def test_elsewhere_it_is_paddles_own(calls, monkeypatch):
    layer, x = nn.Linear(4, 5), paddle.randn([2, 4])
    with paddle.no_grad():
        layer(x)
    nn.Linear(4, 5, bias_attr=False)(x)
    layer(paddle.zeros([0, 4]))
    with monkeypatch.context() as patch:  # Paddle has no mixed precision on a CPU; test_precision.py stands in for it
        patch.setattr(eager, "mixed_precision", lambda: True)
        layer(x)
    frozen = copy.deepcopy(layer)
    frozen.bias.stop_gradient = True
    frozen(x)
    paddle.jit.to_static(copy.deepcopy(layer), input_spec=[paddle.static.InputSpec([None, 4])], full_graph=True)(x)
    assert calls == []
    layer(x)
    assert calls == [[2, 4]]


def test_one_weight_twice(calls):
    layer, x = nn.Linear(4, 4), paddle.randn([2, 4])
    layer(layer(x)).sum().backward()
    found = layer.weight.grad.numpy()
    layer.clear_gradients()
    paddle_linear(paddle_linear(x, layer.weight, layer.bias), layer.weight, layer.bias).sum().backward()
    np.testing.assert_allclose(found, layer.weight.grad.numpy(), rtol=1e-5)
    assert len(calls) == 2
