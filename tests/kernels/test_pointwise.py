# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Activations, softmax and layer normalisation in oneDNN: Paddle's values and gradients, or Paddle's own code."""
import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn
from support.half_on_cpu import half_on_cpu

from ppdet_ext import kernels
from ppdet_ext.kernels import dispatch, onednn, pointwise
from ppdet_ext.weights.parity import relative_error

TOLERANCE = 1e-5
SHAPE = [2, 70, 300]  # as large as SMALL, with columns that no vector divides
pytestmark = pytest.mark.skipif(not dispatch.available(), reason="Paddle came without oneDNN's library")
FUNCTIONS = {
    "relu": (lambda x: F.relu(x), []), "silu": (lambda x: F.silu(x), []), "gelu": (lambda x: F.gelu(x), []),
    "softmax": (lambda x: F.softmax(x), []),
    "softmax by axis": (lambda x: F.softmax(x, 2), []), "layer norm": (
        lambda x, weight, bias: F.layer_norm(x, x.shape[-1], weight, bias, epsilon=1e-3), [SHAPE[-1:]] * 2),
}


@pytest.fixture
def taken(monkeypatch):
    """The sizes that oneDNN computed, forward and backward."""
    seen, run = [], dispatch.run
    monkeypatch.setattr(dispatch, "run", lambda what, *tensors: seen.append(tensors[0].shape) or run(what, *tensors))
    return seen


def tensors(shapes, dtype="float32", learn=True):
    found = [paddle.to_tensor(np.random.RandomState(seed).randn(*shape) * 2, dtype)
             for seed, shape in enumerate(shapes)]
    for tensor in found:
        tensor.stop_gradient = not learn
    return found


def gradients(name, dtype="float32", shape=SHAPE):
    """The result and the gradients of all inputs for a random gradient of it."""
    function, more = FUNCTIONS[name]
    inputs = tensors([shape, *more], dtype)
    y = function(*inputs)
    return [y, *paddle.grad(y, inputs, paddle.to_tensor(np.random.RandomState(9).randn(*shape), dtype))]


def close(found, wanted, tolerance=TOLERANCE):
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape and relative_error(one.numpy(), other.numpy()) <= tolerance


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_are_paddles_and_those_of_float64(name, taken):
    found = gradients(name)
    assert len(taken) == 2
    with kernels.disabled():
        close(found, gradients(name))
    close(found, gradients(name, "float64"))
    assert len(taken) == 2


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_of_gradients(name, taken):
    """Against differences in float64, as Paddle has no second derivatives of most of them."""
    function, more = FUNCTIONS[name]
    ways = tensors([SHAPE, *more], "float64", learn=False)

    def squares(dtype, step=0.0, graph=False):
        inputs = [(one.detach() + step * way.astype(dtype)) for one, way in zip(tensors([SHAPE, *more], dtype), ways)]
        for one in inputs:
            one.stop_gradient = False
        first = paddle.grad((function(*inputs) ** 2).sum(), inputs, create_graph=graph)
        return sum((gradient ** 2).sum() for gradient in first), inputs

    total, inputs = squares("float32", graph=True)
    assert len(taken) == 1  # the gradients are made of operations that have gradients
    found = sum(float((slope.astype("float64") * way).sum()) for slope, way in zip(paddle.grad(total, inputs), ways))
    above, below = (float(squares("float64", step)[0]) for step in (1e-5, -1e-5))
    assert abs(found - (above - below) / 2e-5) <= 1e-4 * abs(found)


def test_layers_take_them_and_only_needed_gradients_are_given(taken):
    layer = nn.Sequential(nn.LayerNorm(SHAPE[-1]), nn.ReLU(), nn.Silu(), nn.GELU(), nn.Softmax())
    x, = tensors([SHAPE], learn=False)
    layer[0].bias.stop_gradient = True
    layer(x).sum().backward()
    assert len(taken) == 10 and layer[0].weight.grad is not None and layer[0].bias.grad is None
    with paddle.no_grad():
        assert layer(x).stop_gradient and len(taken) == 15


def test_values_that_are_not_contiguous(taken):
    def run():
        x, = tensors([[300, 70, 2]])
        weight, bias = tensors([[300], [300]])
        y = F.layer_norm(F.softmax(F.relu(x.transpose([2, 1, 0]))), 300, weight, bias)
        return [y, *paddle.grad(y.transpose([1, 0, 2]), [x, weight, bias], y.detach().transpose([1, 0, 2]) ** 2)]
    found = run()
    assert len(taken) == 6
    with kernels.disabled():
        close(found, run(), 1e-4)


def _mixed():
    layer, x = nn.Linear(SHAPE[-1], SHAPE[-1]), tensors([SHAPE])[0]
    with half_on_cpu(), paddle.amp.auto_cast(dtype="bfloat16"):
        F.relu(layer(x))


OTHERS = {
    "small": lambda: F.relu(tensors([[4, 5]])[0]),
    "float64": lambda: F.relu(tensors([SHAPE], "float64")[0]),
    "another axis": lambda: F.softmax(tensors([SHAPE])[0], 1),
    "an axis by another name": lambda: F.softmax(tensors([SHAPE])[0], axis=0),
    "another type": lambda: F.softmax(tensors([SHAPE])[0], dtype="float64"),
    "tanh's gelu": lambda: F.gelu(tensors([SHAPE])[0], True),
    "several axes": lambda: nn.LayerNorm(SHAPE[1:])(tensors([SHAPE])[0]),
    "no bias": lambda: nn.LayerNorm(SHAPE[-1], bias_attr=False)(tensors([SHAPE])[0]),
    "empty": lambda: F.relu(paddle.zeros([0, 1 << 16])),
    "mixed precision": _mixed,
    "a static graph": lambda: paddle.jit.to_static(nn.Sequential(nn.ReLU(), nn.LayerNorm(300)), full_graph=True)(
        tensors([SHAPE])[0]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_everything_else_is_paddles(name, taken):
    OTHERS[name]()
    assert not taken


def test_wrong_arguments_get_paddles_own_words():
    with pytest.raises(ValueError, match="normalized_shape"):
        F.layer_norm(tensors([SHAPE])[0], [7, 300], *tensors([[300], [300]]))
    with pytest.raises(TypeError):
        F.relu()


@pytest.mark.parametrize("name", ["relu", "layer norm"])
def test_what_the_gradient_needs_must_not_be_changed_in_place(name):
    function, more = FUNCTIONS[name]
    inputs = tensors([SHAPE, *more])
    x = inputs[0] * 1.0
    y = function(x, *inputs[1:])
    changed = y if name == "relu" else x
    total = y.sum()
    changed.add_(changed.detach())
    with pytest.raises(OSError, match="changed in place"):
        total.backward()


def test_another_default_type_changes_nothing(taken):
    wanted = gradients("relu")
    paddle.set_default_dtype("float64")
    try:
        close(gradients("relu"), wanted, 0.0)
    finally:
        paddle.set_default_dtype("float32")
    assert len(taken) == 4


def test_without_a_good_primitive_paddle_computes(monkeypatch, taken):
    def none(*case):
        raise onednn.Unavailable("none here")

    monkeypatch.setattr(pointwise, "operation", lambda kind, *case: onednn.operation.__wrapped__(none, *case))
    for name in FUNCTIONS:
        gradients(name)
    assert not taken
