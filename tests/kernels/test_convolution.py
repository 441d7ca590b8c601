# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Convolutions in oneDNN: Paddle's values and gradients, in every way that training uses them, or Paddle's own code."""
import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn
from paddle.distributed.fleet.utils import recompute
from support.detector_cases import build_detector, frozen_norm_train, train_batch
from support.half_on_cpu import half_on_cpu
from support.paths import REPO

from ppdet_ext import kernels
from ppdet_ext.kernels import convolution, dispatch, onednn
from ppdet_ext.weights.parity import relative_error

TOLERANCE = 1e-5
pytestmark = pytest.mark.skipif(not dispatch.available(), reason="Paddle came without oneDNN's library")

#: shape of x, of the weight, then nn.Conv2D's keywords
CASES = {
    "3x3": ([2, 16, 20, 20], [32, 16, 3, 3], {"padding": 1}),
    "image": ([2, 3, 33, 31], [16, 3, 3, 3], {"stride": 2, "padding": 1}),
    "odd sizes and channels": ([1, 5, 13, 17], [7, 5, 3, 5], {"padding": [1, 2]}),
    "bias": ([2, 8, 9, 9], [24, 8, 3, 3], {"padding": 1, "bias": True}),
    "1x1": ([2, 16, 7, 7], [8, 16, 1, 1], {}),
    "1x1 with bias": ([2, 16, 7, 7], [8, 16, 1, 1], {"bias": True}),
    "1x1 with stride": ([2, 16, 8, 8], [32, 16, 1, 1], {"stride": 2}),
    "1x1 padded": ([2, 16, 8, 8], [32, 16, 1, 1], {"padding": 1}),
    "strides differ": ([2, 8, 16, 16], [8, 8, 3, 3], {"stride": [1, 2], "padding": 1}),
    "padding by side": ([2, 8, 11, 12], [8, 8, 3, 3], {"padding": [0, 1, 2, 3]}),
    "padding by axis": ([2, 8, 11, 12], [8, 8, 3, 3], {"padding": [[0, 0], [0, 0], [2, 1], [0, 3]]}),
    "same": ([2, 8, 15, 14], [8, 8, 3, 3], {"stride": 2, "padding": "SAME"}),
    "same with even kernel": ([2, 8, 15, 14], [8, 8, 4, 2], {"padding": "SAME", "dilation": 2}),
    "valid": ([2, 8, 15, 14], [8, 8, 3, 3], {"padding": "VALID"}),
    "dilated": ([1, 8, 15, 15], [8, 8, 3, 3], {"padding": [2, 3], "dilation": [2, 3]}),
    "large kernel": ([1, 8, 15, 15], [16, 8, 7, 7], {"stride": 2, "padding": 3}),
    "groups": ([2, 16, 10, 10], [32, 4, 3, 3], {"padding": 1, "groups": 4, "bias": True}),
    "odd groups": ([2, 6, 10, 10], [9, 2, 3, 3], {"padding": 1, "groups": 3}),
    "depthwise": ([2, 24, 14, 14], [24, 1, 7, 7], {"padding": 3, "groups": 24, "bias": True}),
    "depthwise, two each": ([2, 12, 14, 14], [24, 1, 3, 3], {"stride": 2, "padding": 1, "groups": 12}),
    "kernel as large as input": ([2, 8, 5, 5], [8, 8, 5, 5], {}),
}
#: those that Paddle does better
PRODUCTS = ("1x1", "1x1 with stride")


@pytest.fixture
def taken(monkeypatch):
    """The cases that oneDNN computed."""
    seen, run = [], convolution._computed

    def watched(wanted, case, *inputs):
        seen.extend([case] * (wanted == "y"))
        return run(wanted, case, *inputs)

    monkeypatch.setattr(convolution, "_computed", watched)
    return seen


def random(shape, dtype="float32", seed=0):
    return paddle.to_tensor(np.random.RandomState(seed + sum(shape)).randn(*shape), dtype)


def results(shape, kernel, keywords, dtype="float32"):
    """y and the gradients of x, weight and bias for a random gradient of y."""
    keywords = {"bias": False, **keywords}
    bias = random(kernel[:1], dtype, 2) if keywords.pop("bias") else None
    layer = nn.Conv2D(shape[1], kernel[0], kernel[2:], bias_attr=None if bias is not None else False, **keywords)
    layer.to(dtype=dtype).set_state_dict({"weight": random(kernel, dtype, 1), "bias": bias})
    x = random(shape, dtype)
    x.stop_gradient = False
    y = layer(x)
    return [y, *paddle.grad(y, [x, *layer.parameters()], random(y.shape, dtype, 3))]


def close(found, wanted, tolerance=TOLERANCE):
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert relative_error(one.numpy(), other.numpy()) <= tolerance


def by_paddle(function):
    with kernels.disabled():
        return function()


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_paddles_and_those_of_float64(name, taken):
    found = results(*CASES[name])
    assert len(taken) == (name not in PRODUCTS)
    close(found, by_paddle(lambda: results(*CASES[name])))
    close(found, results(*CASES[name], dtype="float64"))


def test_a_layer_fuses_its_bias_and_keeps_its_state(taken):
    layer = nn.Conv2D(4, 6, 3, padding=1)
    x = random([1, 4, 8, 8])
    y = layer(x)
    assert [case.bias for case in taken] == [True]
    assert list(layer.state_dict()) == ["weight", "bias"] and type(layer) is nn.Conv2D
    np.testing.assert_array_equal(copy.deepcopy(layer)(x), y)
    copied = nn.Conv2D(4, 6, 3, padding=1)
    copied.set_state_dict(pickle.loads(pickle.dumps({k: v.numpy() for k, v in layer.state_dict().items()})))
    np.testing.assert_array_equal(copied(x), y)


@pytest.mark.parametrize("needed", [(1, 1, 1), (0, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1)])
def test_only_gradients_that_are_needed_are_computed(needed, monkeypatch):
    runs, run = [], convolution.run
    monkeypatch.setattr(convolution, "run", lambda *given: runs.append(given[0]) or run(*given))
    layer, x = nn.Conv2D(4, 8, 3, padding=1), random([2, 4, 8, 8])
    tensors = [x, layer.weight, layer.bias]
    for tensor, need in zip(tensors, needed):
        tensor.stop_gradient = not need

    def gradients():
        y = layer(x)
        return paddle.grad((y * y).sum(), [tensor for tensor in tensors if not tensor.stop_gradient])

    found = gradients()
    assert len(runs) == 1 + needed[0] + needed[1]  # forward, for x, for the weight (and the bias with it)
    close(found, by_paddle(gradients))


def test_a_weight_used_twice_hooks_and_recompute(taken):
    layer, seen = nn.Conv2D(4, 4, 3, padding=1), []
    x = random([2, 4, 9, 9])
    x.stop_gradient = False

    def twice(value):
        return layer(F.relu(layer(value)))

    layer.weight.register_hook(lambda gradient: seen.append(gradient) or gradient * 2)
    twice(x).sum().backward()
    doubled, for_x = layer.weight.grad.clone(), x.grad.clone()
    assert seen
    layer.clear_gradients()
    x.clear_gradient()
    recompute(twice, x).sum().backward()
    close([layer.weight.grad, x.grad], [doubled, for_x])
    assert len(taken) == 2 + 2 * 2
    by_float64 = nn.Conv2D(4, 4, 3, padding=1)
    by_float64.set_state_dict(layer.state_dict())
    layer = by_float64.to(dtype="float64")
    twice(random([2, 4, 9, 9], "float64")).sum().backward()
    close([doubled], [layer.weight.grad * 2])


def test_gradients_of_gradients():
    def second():
        x, weight = random([1, 4, 6, 6]), random([4, 4, 3, 3])
        x.stop_gradient = weight.stop_gradient = False
        y = F.conv2d(x, weight, padding=[0, 1, 2, 1])
        first = paddle.grad((y ** 3).sum(), [x, weight], create_graph=True)
        sum((gradient ** 2).sum() for gradient in first).backward()
        return [*first, x.grad, weight.grad]
    close(second(), by_paddle(second))


def test_an_input_changed_in_place_is_an_error():
    x, layer = random([1, 4, 6, 6]), nn.Conv2D(4, 4, 3)
    y = layer(x)
    x.add_(x)
    with pytest.raises(OSError, match="changed in place"):
        y.sum().backward()


def test_values_that_are_not_contiguous(taken):
    def run():
        x = random([2, 9, 8, 4]).transpose([0, 3, 1, 2])
        weight = random([3, 3, 4, 8]).transpose([3, 2, 0, 1])
        weight.stop_gradient = x.stop_gradient = False
        y = F.conv2d(x, weight)
        return [y, *paddle.grad(y.transpose([0, 2, 3, 1]), [x, weight], random([2, 7, 6, 8]))]
    found = run()
    assert taken
    close(found, by_paddle(run))


def test_without_gradients_there_is_no_graph(taken):
    layer, x = nn.Conv2D(4, 4, 3), random([1, 4, 6, 6])
    with paddle.no_grad():
        assert layer(x).stop_gradient
    assert not layer(x).stop_gradient and len(taken) == 2


OTHERS = {
    "float64": lambda: F.conv2d(random([1, 4, 6, 6], "float64"), random([4, 4, 3, 3], "float64")),
    "channels last": lambda: F.conv2d(random([1, 4, 6, 4]), random([4, 4, 3, 3]), data_format="NHWC"),
    "mixed precision": lambda: _mixed(),
    "an empty batch": lambda: F.conv2d(paddle.zeros([0, 4, 6, 6]), random([4, 4, 3, 3])),
    "three dimensions": lambda: F.conv3d(random([1, 4, 6, 6, 6]), random([4, 4, 3, 3, 3])),
    "transposed": lambda: F.conv2d_transpose(random([1, 4, 6, 6]), random([4, 4, 3, 3])),
    "product of matrices": lambda: F.conv2d(random([1, 4, 6, 6]), random([4, 4, 1, 1])),
    "a static graph": lambda: _static(),
}


def _mixed():
    with half_on_cpu(), paddle.amp.auto_cast(dtype="bfloat16"):
        y = F.conv2d(random([1, 4, 6, 6]), random([4, 4, 3, 3]))
    assert y.dtype == paddle.bfloat16


def _static():
    layer, x = nn.Sequential(nn.Conv2D(4, 4, 3), nn.Conv2D(4, 4, 3, groups=4)), random([1, 4, 6, 6])
    static = paddle.jit.to_static(copy.deepcopy(layer), full_graph=True)
    return static(x)


@pytest.mark.parametrize("name", OTHERS)
def test_everything_else_is_paddles(name, taken):
    OTHERS[name]()
    assert not taken


def test_wrong_arguments_get_paddles_own_words():
    with pytest.raises(ValueError, match="channel"):
        F.conv2d(random([1, 4, 6, 6]), random([4, 3, 3, 3]))


def test_an_exported_layer_computes_the_same():
    layer, x = nn.Sequential(nn.Conv2D(4, 4, 3), nn.Conv2D(4, 8, 3, groups=4)), random([1, 4, 6, 6])
    static = paddle.jit.to_static(layer, full_graph=True)
    close([static(x)], [layer[1](layer[0](x))])


def test_threads_at_once():
    from concurrent.futures import ThreadPoolExecutor

    def run(seed):
        x, weight = random([2, 16, 20, 20], seed=seed), random([16, 16, 3, 3], seed=seed)
        return F.conv2d(x, weight, padding=1).numpy()
    wanted = [run(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as threads:
        for found, one in zip(threads.map(run, list(range(8)) * 4), wanted * 4):
            np.testing.assert_array_equal(found, one)


def step(seed=0):
    """Losses and gradients of a training step of a small detector in which nothing depends on statistics."""
    paddle.seed(seed)
    model = frozen_norm_train(build_detector(
        eval_size=[64, 64], norm_type="bn", hidden_dim=32, RTDETRTransformer={"num_queries": 20},
        ResNet={"depth": 18, "freeze_at": -1, "freeze_norm": False}))
    paddle.seed(seed)
    losses = model(train_batch(64, 64, 2))
    losses["loss"].backward()
    return losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_a_detectors_step_is_the_same(taken):
    losses, gradients = step()
    assert len(taken) > 30
    wanted, gradients_wanted = by_paddle(step)
    close(losses.values(), wanted.values())
    assert list(gradients) == list(gradients_wanted) and len(gradients) > 100
    close(gradients.values(), gradients_wanted.values())


SCRIPT = """
import ppdet_ext, paddle
from ppdet_ext import kernels
with kernels.enabled():
    print('patched', hasattr(paddle.nn.functional.conv._conv_nd, '__wrapped__'), kernels.active())
"""


@pytest.mark.parametrize("name", kernels.SWITCHES)
@pytest.mark.parametrize("value, patched", [("0", False), ("1", True)])
def test_the_switch(name, value, patched):
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=REPO,
                          env={**os.environ, name: value, "PYTHONPATH": str(REPO)})
    assert f"patched {patched} {patched}" in done.stdout


# in this order: what the first one lets go is destroyed by the library
CACHES = (onednn.convolution, onednn.operation, dispatch.available, onednn.library)


class TestWithoutTheLibrary:
    """Its absence, or another one, is said once, and Paddle computes."""

    @pytest.fixture(autouse=True)
    def fresh(self):
        for cached in CACHES:
            cached.cache_clear()
        yield
        for cached in CACHES:
            cached.cache_clear()

    @pytest.fixture
    def lines(self, monkeypatch):
        said = []
        monkeypatch.setattr(dispatch.logger, "info", lambda text, *given: said.append(text % given))
        return said

    def check(self, lines, taken, reason):
        for _ in range(2):
            F.conv2d(random([1, 4, 6, 6]), random([4, 4, 3, 3]))
        assert not taken and len(lines) == 1 and reason in lines[0]

    def test_missing(self, monkeypatch, lines, taken):
        monkeypatch.setattr(onednn, "LIBRARY", "libother.so")
        self.check(lines, taken, "does not exist")

    def test_another_version(self, monkeypatch, lines, taken):
        monkeypatch.setattr(onednn, "MAJOR", 4)
        self.check(lines, taken, "4 with OpenMP")

    def test_another_library(self, monkeypatch, lines, taken):
        monkeypatch.setattr(onednn, "LIBRARY", "libiomp5.so")
        self.check(lines, taken, "dnnl_version")

    def test_a_function_is_missing(self, monkeypatch, lines, taken):
        monkeypatch.setitem(onednn.SIGNATURES, "no_such_function", onednn.SIGNATURES["stream_wait"])
        self.check(lines, taken, "no_such_function")


def test_handles_are_destroyed_with_their_convolution(monkeypatch):
    destroyed, destroy = [], onednn._destroy
    monkeypatch.setattr(onednn, "_destroy", lambda made: destroyed.append(len(made)) or destroy(made))
    case = onednn.Case((1, 4, 6, 6), (4, 4, 3, 3), (1, 1), (0, 0), (0, 0), (1, 1), 1, False)
    one = onednn.Convolution(case)
    one.forward, one.backward_x  # noqa: B018  they are made when asked for
    del one
    assert destroyed and destroyed[0] > 10
