# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""At its first use a kernel is compared with Paddle's operation; where it differs it is left out, and that is said."""
import re

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from ppdet_ext import kernels
from ppdet_ext.detector import attention
from ppdet_ext.kernels import convolution, dispatch, linear, onednn, pointwise, transpose
from ppdet_ext.kernels.dispatch import CHECKS

SIDE = [256, 256]


def tensor(*shape):
    return paddle.to_tensor(np.random.RandomState(0).randn(*shape), "float32", stop_gradient=False)


def attend():
    paddle.seed(0)
    layer = attention.PPMSDeformableAttention(8, 2, [2, 2])
    return layer(tensor(1, 3, 8), paddle.full([1, 3, 1, 4], 0.5), tensor(1, 20, 8), [(4, 4), (2, 2)])


#: kernel -> (its check, what uses it, where what it computes with is)
USES = {
    "transpose": (transpose.CHECK, lambda: transpose.transposed(tensor(2, 3), [1, 0]), transpose, "_copied"),
    "linear": (linear.CHECK, lambda: F.linear(tensor(3, 4), tensor(4, 5), tensor(5)), linear, "repeated"),
    "deformable attention by row lookup": (attention.FLAT_CHECK, attend, attention, "sample_flat"),
    "convolution": (convolution.CHECKS[False], lambda: F.conv2d(tensor(1, 4, 6, 6), tensor(4, 4, 3, 3)), convolution,
                    "_computed"),
    "convolution in groups": (convolution.CHECKS[True], lambda: nn.Conv2D(4, 4, 3, groups=4)(tensor(1, 4, 6, 6)),
                              convolution, "_computed"),
    "relu": (pointwise.CHECKS["relu"], lambda: F.relu(tensor(*SIDE)), pointwise, "_result"),
    "silu": (pointwise.CHECKS["silu"], lambda: F.silu(tensor(*SIDE)), pointwise, "_result"),
    "gelu": (pointwise.CHECKS["gelu"], lambda: F.gelu(tensor(*SIDE)), pointwise, "_result"),
    "softmax": (pointwise.CHECKS["softmax"], lambda: F.softmax(tensor(*SIDE)), pointwise, "_result"),
    "layer_norm": (pointwise.CHECKS["layer_norm"], lambda: nn.LayerNorm(256)(tensor(*SIDE)), pointwise, "_normalized"),
}


@pytest.fixture
def said(monkeypatch):
    """What the log says."""
    lines = []
    monkeypatch.setattr(dispatch.logger, "warning", lambda text, *given: lines.append(text % given))
    return lines


@pytest.fixture(autouse=True)
def looked_at_again():
    """Every kernel is new to this test, and to the next one."""
    for check in CHECKS:
        check.forget()
    yield
    for check in CHECKS:
        check.forget()


def off_by(factor, function):
    def wrong(*args, **kwargs):
        found = function(*args, **kwargs)
        return tuple(one * factor for one in found) if isinstance(found, tuple) else found * factor
    return wrong


def test_every_kernel_is_here():
    assert {name: check for name, (check, *_) in USES.items()} == {check.name: check for check in CHECKS}


@pytest.mark.parametrize("name", USES)
def test_a_kernel_as_it_is_passes(name, said):
    check, use, *_ = USES[name]
    use()
    assert check.passed() and not said
    assert check.difference() <= check.tolerance


@pytest.mark.parametrize("name", USES)
def test_a_broken_kernel_steps_aside_and_says_so_once(name, said, monkeypatch):
    if not dispatch.available():
        pytest.skip("Paddle came without oneDNN's library")
    check, use, module, part = USES[name]
    with kernels.disabled():
        paddle.seed(0)
        wanted = use()
    monkeypatch.setattr(module, part, off_by(1.001, getattr(module, part)))
    for _ in range(2):
        paddle.seed(0)
        np.testing.assert_array_equal(use().numpy(), wanted.numpy())
    assert not check.passed() and len(said) == 1
    assert re.search(f"the kernel '{name}' is left out.*differ by [0-9.]+e-0[1-4] ", said[0]), said


def test_a_kernel_that_raises_steps_aside(said, monkeypatch):
    def broken(*args):
        raise onednn.Unavailable("no memory\nat all")

    monkeypatch.setattr(pointwise, "_result", broken)
    assert F.relu(tensor(*SIDE)).shape == SIDE
    assert len(said) == 1 and said[0].endswith("Unavailable: no memory at all")


def test_a_wrong_gradient_alone_is_seen(said, monkeypatch):
    backward = pointwise._Activation.backward
    monkeypatch.setattr(pointwise._Activation, "backward", staticmethod(lambda ctx, given: backward(ctx, given) * 2))
    assert not pointwise.CHECKS["gelu"].passed() and "differ by" in said[0]


def test_checking_leaves_random_numbers_and_the_gradients_switch_as_they_are():
    paddle.seed(3)
    wanted = paddle.rand([3]).numpy()
    np.random.seed(3)
    numbers = np.random.rand()
    paddle.seed(3)
    np.random.seed(3)
    with paddle.no_grad():
        for check in CHECKS:
            assert check.passed()
        assert not paddle.is_grad_enabled()
    np.testing.assert_array_equal(paddle.rand([3]).numpy(), wanted)
    assert np.random.rand() == numbers
    assert kernels.active()
