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


def view_beside_a_part(x):
    y = x * 1
    z = y.view(-1)
    y[:, 0] += 1
    return z


def view_beside_a_view(x):
    y = x * 1
    one, other = y.view(-1), y.t()
    one += 1
    return other


VIEWS = {  # whole views, each with the call that makes it
    "moveaxis": lambda x: x.moveaxis(0, 1), "movedim": lambda x: torch.movedim(x, 0, 1),
    "broadcast_tensors": lambda x: torch.broadcast_tensors(x, torch.ones(2, 3, 4))[0],
    "unfold": lambda x: x.unfold(1, 2, 1), "T": lambda x: x.T, "mT": lambda x: x.mT, "same dtype": lambda x: x.float(),
    "Flatten": torch.nn.Flatten(0), "Unflatten": torch.nn.Unflatten(1, (2, 2)), "Identity": torch.nn.Identity(),
    "Dropout": torch.nn.Dropout(0.5), "Dropout2d": torch.nn.Dropout2d(0.5), "AlphaDropout": torch.nn.AlphaDropout(0.5),
    "dropout": lambda x: torch.nn.functional.dropout(x, 0.5, training=False), "expand": lambda x: x.expand(2, 3, 4),
    "positive": lambda x: +x, "einsum": lambda x: torch.einsum("ij->ji", x),
}


def changed_after(view):
    """A network whose view is read after the whole was changed."""
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.view = view

        def forward(self, x):
            y = x * 1
            z = self.view(y)
            y += 1
            return z

    return Net().eval()


@pytest.mark.parametrize("function", [changed_through_a_view, view_of_what_was_changed, whole_of_a_chunk,
                                      view_beside_a_part, view_beside_a_view])
def test_refused(function):
    with pytest.raises(UserError, match="cannot be traced.*changed in place through another"):
        trace_module(module(function), (3, 4))


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_change_after_a_view_is_never_lost(view):
    net = changed_after(view)
    x = torch.zeros(3, 4)
    assert (net(x) == 1).all()  # torch sees the change through the view
    if view in (VIEWS["T"], VIEWS["mT"]):  # attributes are read where they are used, after the change
        graph = trace_module(net, (3, 4))
        assert (GraphLayer(graph)(paddle.zeros([3, 4]))["output"].numpy() == 1).all()
        return
    with pytest.raises(UserError, match="changed in place through another"):
        trace_module(net, (3, 4))


def test_what_a_layer_does_in_place_is_its_argument():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.drop = torch.nn.ReLU(inplace=True), torch.nn.Dropout(0.5, inplace=True)

        def forward(self, x):
            y = x * 1
            z = self.drop(self.act(y))
            z += 1
            return y - z * 2

    net, x = Net().eval(), np.random.RandomState(0).randn(3, 4).astype("float32")
    layer = GraphLayer(trace_module(net, (3, 4))).eval()
    np.testing.assert_allclose(layer(paddle.to_tensor(x))["output"].numpy(), net(torch.tensor(x)).numpy(), rtol=1e-6)


COPIES = {"another dtype": lambda x: x.long().float(), "clone": lambda x: x.clone(), "sum": lambda x: x + 0,
          "gather": lambda x: x[[0, 1]], "reshape of a transpose": lambda x: x.t().reshape(-1),
          "einsum": lambda x: torch.einsum("ij,j->i", x, torch.ones(4))}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_may_be_read_after_the_change(copy):
    net = changed_after(copy)
    x = np.random.RandomState(0).randn(3, 4).astype("float32") * 3
    found = GraphLayer(trace_module(net, (3, 4)))(paddle.to_tensor(x))["output"].numpy()
    np.testing.assert_allclose(found, net(torch.tensor(x)).numpy(), rtol=1e-5)


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
