# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Values that follow from sizes alone: computed once for a size, and right for each."""
import numpy as np
import paddle
import pytest

from ppdet_ext.graph import hoist_constants
from ppdet_ext.graph.layer import GraphLayer
from ppdet_ext.trace.from_torch import trace_module

torch = pytest.importorskip("torch", reason="tracing needs torch")

pytestmark = pytest.mark.torch


class Masked(torch.nn.Module):
    """Adds a mask and a grid that depend on the image's size; ``noise`` does not."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([2.0]))

    def forward(self, x):
        height, width = x.shape[-2:]
        mask = torch.zeros(height, width)
        mask[: height // 2] = 1.0
        mask[:, 0] += 3.0
        grid = torch.arange(width).float() / width
        return x + mask.unsqueeze(0) + grid.sin() * self.scale


@pytest.fixture
def layer():
    made = GraphLayer(trace_module(Masked(), (2, 4, 6)))
    made.scale.set_value(np.array([2.0], "float32"))
    return made


def image(*shape):
    return np.random.RandomState(0).randn(*shape).astype("float32")


def test_each_size_is_computed_once(layer):
    for shape in ((2, 4, 6), (1, 4, 6), (2, 5, 7), (2, 4, 6)):
        found = layer(paddle.to_tensor(image(*shape)))["output"].numpy()
        wanted = Masked()(torch.tensor(image(*shape))).detach().numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert len(layer.remembered) == 4  # mask and grid, of two sizes
    assert layer.code.count("remember(") == 2


def test_gradients_pass_by(layer):
    for _ in range(2):
        layer(paddle.to_tensor(image(2, 4, 6)))["output"].sum().backward()
    angles = np.sin(np.arange(6) / 6)
    np.testing.assert_allclose(layer.scale.grad.numpy(), [2 * angles.sum() * 8], rtol=1e-5)


def test_another_precision_is_another_value(layer):
    layer(paddle.to_tensor(image(2, 4, 6)))
    layer.astype("float64")
    found = layer(paddle.to_tensor(image(2, 4, 6).astype("float64")))["output"]
    assert found.dtype == paddle.float64
    np.testing.assert_allclose(found.numpy(), Masked().double()(torch.tensor(image(2, 4, 6).astype("float64")))
                               .detach().numpy(), rtol=1e-6, atol=1e-7)


def test_a_static_graph_computes_them_for_any_size(layer):
    class Net(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.net = layer

        def forward(self, image):
            return self.net(image)

    spec = [paddle.static.InputSpec([None, None, None], "float32", "image")]
    program = paddle.jit.to_static(Net(), input_spec=spec, full_graph=True)
    for shape in ((2, 4, 6), (1, 5, 8)):
        found = program(paddle.to_tensor(image(*shape)))["output"].numpy()
        np.testing.assert_allclose(found, Masked()(torch.tensor(image(*shape))).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_chance_is_not_remembered():
    class Noisy(torch.nn.Module):
        def forward(self, x):
            return x + torch.zeros(x.shape[0], 8).bernoulli_(0.5) * 2

    made = GraphLayer(trace_module(Noisy(), (64, 8)))
    first, second = (made(paddle.zeros([64, 8]))["output"].numpy() for _ in range(2))
    assert (first != second).any()


def test_what_is_remembered_does_not_grow_without_end(layer, monkeypatch):
    monkeypatch.setattr(hoist_constants, "KEPT", 4)
    for width in range(2, 9):
        layer(paddle.zeros([1, 4, width]))
    assert len(layer.remembered) <= 4
