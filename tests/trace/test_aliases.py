# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Changes in place of tensors that share memory: what is followed equals torch, what is not is refused."""
import numpy as np
import paddle
import pytest

from ppdet_ext.errors import UserError
from ppdet_ext.graph.layer import GraphLayer
from ppdet_ext.trace.from_torch import trace_module

torch = pytest.importorskip("torch", reason="tracing needs torch")

pytestmark = pytest.mark.torch


def part_of_a_part(x):
    y = x * 1
    y[:, 1:][:, 0] += 2
    return y


def several_parts(x):
    y = x * 1
    first, second = y[:, 0], y[:, 1]
    first.mul_(3)
    second += first
    return y + first[:, None]


def zeroed_slice(x):
    y = x.clone()
    count = y.numel() // 3
    flat = torch.zeros(count * 3) + y.sum()
    flat[count:2 * count].zero_()
    return flat


def pieces_of_a_chunk(x):
    first, second = (x * 1).chunk(2, 1)
    first.add_(1)
    return first * second


def activation_in_place(x):
    y = x * 1
    torch.nn.functional.relu(y[:, 0], inplace=True)
    return y


def assigned(x):
    y = x * 1
    y[:, 0] = y[:, 1]
    return y.sum() + y


@pytest.mark.parametrize("function", [part_of_a_part, several_parts, zeroed_slice, pieces_of_a_chunk,
                                      activation_in_place, assigned])
def test_followed(function):
    made = GraphLayer(trace_module(module(function), (3, 4)))
    x = np.random.RandomState(0).randn(3, 4).astype("float32")
    found = made(paddle.to_tensor(x))["output"].numpy()
    np.testing.assert_allclose(found, function(torch.tensor(x)).numpy(), rtol=1e-6)


def changed_through_a_view(x):
    y = x * 1
    y.view(-1).add_(1)
    return y


def view_of_what_was_changed(x):
    y = x * 1
    z = y.transpose(0, 1)
    y += 1
    return z


def whole_of_a_chunk(x):
    y = x * 1
    y.chunk(2, 1)[0].add_(1)
    return y


@pytest.mark.parametrize("function", [changed_through_a_view, view_of_what_was_changed, whole_of_a_chunk])
def test_refused(function):
    with pytest.raises(UserError, match="cannot be traced.*changed in place through another"):
        trace_module(module(function), (3, 4))


def test_the_size_of_what_was_changed_may_be_read():
    def function(x):
        y = x * 1
        z = y.view(-1)
        z += 1
        return z.view(y.shape[0], y.size(1))

    made = GraphLayer(trace_module(module(function), (3, 4)))
    assert made(paddle.ones([3, 4]))["output"].tolist() == [[2.0] * 4] * 3


def module(function):
    class Net(torch.nn.Module):
        def forward(self, x):
            return function(x)

    return Net()
