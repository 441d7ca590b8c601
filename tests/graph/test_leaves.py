# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Leaf modules against torch: outputs in eval and train mode, gradients, statistics, names, and in a static graph."""
import json

import numpy as np
import paddle
import pytest

from ppdet_ext.errors import UserError
from ppdet_ext.graph.ops import timm_norm_leaves
from ppdet_ext.graph.ops._leaf_args import build_leaf, is_leaf, read_leaf
from ppdet_ext.graph.ops._table import LEAVES, Leaf
from ppdet_ext.weights import load_into, relative_error, to_paddle

torch = pytest.importorskip("torch", reason="leaves are compared with torch's")
timm = pytest.importorskip("timm", reason="leaves are compared with timm's")
torchvision = pytest.importorskip("torchvision", reason="leaves are compared with torchvision's")

pytestmark = pytest.mark.torch

from support.leaf_cases import CASES  # noqa: E402
from timm.layers import norm_act  # noqa: E402

LIMIT = 1e-5
STATISTICS = {"_mean": "running_mean", "_variance": "running_var"}
ALL = [pytest.param(case, id=f"{name}-{index}") for name, cases in CASES.items() for index, case in enumerate(cases)]
TRAINED = [param for param in ALL if param.values[0].train]


def torch_module(case):
    """The module with parameters and statistics away from their start."""
    torch.manual_seed(0)
    module = case.make()
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            kind = name.rpartition(".")[2]
            if kind == "running_var":
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and kind != "filt":
                tensor.add_(0.3 * torch.randn_like(tensor))
    return module


def paddle_layer(module):
    """What the bridge makes of it, after a trip through JSON, with its weights."""
    layer = build_leaf(json.loads(json.dumps(read_leaf(module))))
    report = load_into(layer, to_paddle({key: value.numpy() for key, value in module.state_dict().items()}, layer))
    assert not report.missing and not report.unexpected
    return layer


def arrays(case, seed=0):
    random = np.random.RandomState(seed)
    return [random.randn(*each).astype("float32") if isinstance(each, tuple) else each.numpy()
            for each in case.inputs]


def flat(value):
    """Tensors of a nested result, in order."""
    if value is None:
        return []
    return [each for part in value for each in flat(part)] if isinstance(value, (tuple, list)) else [value]


def compared(ours, theirs, limit=LIMIT):
    ours, theirs = flat(ours), flat(theirs)
    assert len(ours) == len(theirs)
    errors = [relative_error(one, other) for one, other in zip(ours, theirs)]
    assert max(errors) <= limit, errors
    return max(errors)


def test_every_leaf_has_a_case():
    assert set(CASES) == set(LEAVES)


@pytest.mark.parametrize("case", ALL)
def test_eval_equals_torch_and_float64_works(case):
    module = torch_module(case).eval()
    layer = paddle_layer(module)
    layer.eval()
    inputs = arrays(case)
    with torch.no_grad():
        wanted = module(*map(torch.tensor, inputs))
    with paddle.no_grad():
        print(f"max|d|/max|ref| {compared(layer(*map(paddle.to_tensor, inputs)), wanted):.1e}")
        layer.to(dtype="float64")
        given = flat(layer(*(paddle.to_tensor(each.astype("float64") if each.dtype == np.float32 else each)
                             for each in inputs)))
    compared(given, wanted)
    assert all(each.dtype == paddle.float64 for each in given)


@pytest.mark.parametrize("case", TRAINED)
def test_a_training_step_equals_torch(case):
    module = torch_module(case).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    layer = paddle_layer(module)
    layer.train()
    inputs = arrays(case, seed=1)
    theirs = [torch.tensor(each, requires_grad=each.dtype == np.float32) for each in inputs]
    ours = [paddle.to_tensor(each, stop_gradient=each.dtype != np.float32) for each in inputs]
    wanted, given = module(*[each.clone() for each in theirs]), layer(*ours)
    compared(given, wanted)

    weights = [np.random.RandomState(i).randn(*each.shape).astype("float32") for i, each in enumerate(flat(wanted))]
    sum((each * torch.tensor(weight)).sum() for each, weight in zip(flat(wanted), weights)).backward()
    sum((each * paddle.to_tensor(weight)).sum() for each, weight in zip(flat(given), weights)).backward()
    for one, other in zip(ours, theirs):
        if other.requires_grad:
            close(one.grad, other.grad)
    gradients = to_paddle({key: value.grad.numpy() for key, value in module.named_parameters()}, layer)
    trainable = {key: value for key, value in layer.named_parameters() if not value.stop_gradient}
    assert set(trainable) == set(gradients)
    for key, value in trainable.items():
        close(value.grad, gradients[key])
    statistics_equal(case, layer, before, module)


def close(ours, theirs):
    """Gradients; some are zero but for rounding."""
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-4, atol=2e-5 * max(
        1.0, float(np.abs(np.asarray(theirs)).max())))


def statistics_equal(case, layer, before, module):
    """Running statistics after one step. Paddle's BatchNorm averages in the biased variance, torch the unbiased."""
    after = module.state_dict()
    for key, value in layer.state_dict().items():
        path, kind = key.rpartition(".")[::2]
        source = f"{path}.{STATISTICS.get(kind)}".lstrip(".")
        start, end = before.get(source), after.get(source)
        if kind == "_variance" and isinstance(layer, paddle.nn.layer.norm._BatchNormBase):
            size = int(np.prod(case.inputs[0])) // case.inputs[0][1]
            factor = 1.0 if module.momentum is None else module.momentum
            batch = (end - (1 - factor) * start) * (size - 1) / size
            end = (1 - factor) * start + batch
        if kind in STATISTICS:
            np.testing.assert_allclose(value.numpy(), end.numpy(), rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("case", ALL)
def test_static_graph_of_open_sizes_equals_torch(case):
    module = torch_module(case).eval()
    layer = paddle_layer(module)
    layer.eval()
    inputs = arrays(case)
    specs = [paddle.static.InputSpec([size if axis in case.known or (array.ndim == 2 and axis) else -1
                                      for axis, size in enumerate(array.shape)], str(array.dtype)) for array in inputs]
    static = paddle.jit.to_static(layer, input_spec=specs, full_graph=True)
    with torch.no_grad():
        wanted = module(*map(torch.tensor, inputs))
    with paddle.no_grad():
        compared(static(*map(paddle.to_tensor, inputs)), wanted)


def drawn(module, x):
    """Output of the Paddle layer in training for a torch module."""
    paddle.seed(1)
    layer = paddle_layer(module)
    layer.train()
    return layer(paddle.to_tensor(x)).numpy()


ROWS = np.ones((400, 4, 6, 5), "float32")
# torch module, share of zeros, value of the rest, axes over which a draw is the same
DROPS = {
    "Dropout": (lambda: torch.nn.Dropout(0.25), 0.25, 1 / 0.75, ()),
    "Dropout2d": (lambda: torch.nn.Dropout2d(0.25), 0.25, 1 / 0.75, (2, 3)),
    "DropPath": (lambda: timm.layers.DropPath(0.25), 0.25, 1 / 0.75, (1, 2, 3)),
    "DropPath unscaled": (lambda: timm.layers.DropPath(0.25, scale_by_keep=False), 0.25, 1.0, (1, 2, 3)),
    "StochasticDepth": (lambda: torchvision.ops.StochasticDepth(0.25, "row"), 0.25, 1 / 0.75, (1, 2, 3)),
    "StochasticDepth batch": (lambda: torchvision.ops.StochasticDepth(0.999, "batch"), 1.0, 0.0, (0, 1, 2, 3)),
}


@pytest.mark.parametrize("make, rate, value, same", DROPS.values(), ids=DROPS)
def test_training_draws_as_torch_does(make, rate, value, same):
    y = drawn(make(), ROWS)
    assert abs((y == 0).mean() - rate) < 0.06
    np.testing.assert_allclose(y[y != 0], value, rtol=1e-5)
    assert not np.ptp(y, axis=same).any() if same else np.ptp(y) > 0


@pytest.mark.parametrize("make", [
    lambda: timm.layers.DropBlock2d(0.2, 3), lambda: torchvision.ops.DropBlock2d(0.2, 3),
    lambda: timm.layers.DropBlock2d(0.2, 2, couple_channels=False), lambda: timm.layers.DropBlock2d(0.2, 3, 0.5)])
def test_blocks_are_dropped_as_often_as_in_torch(make):
    x = np.ones((60, 8, 12, 12), "float32")
    torch.manual_seed(1)
    ours, theirs = drawn(make(), x), make().train()(torch.tensor(x)).numpy()
    shares = [(each == 0).mean() for each in (ours, theirs)]
    print("share of zeros", shares)
    assert abs(shares[0] - shares[1]) < 0.03
    assert abs(ours.mean() - 1) < 1e-3
    same = [(each == each[:, :1]).all() for each in (ours, theirs)]
    assert same[0] == same[1]  # channels alike or not


def test_patches_are_dropped_and_the_first_stay():
    x = np.arange(2 * 9 * 3, dtype="float32").reshape(2, 9, 3)
    y = drawn(timm.layers.PatchDropout(0.5, num_prefix_tokens=1, ordered=True), x)
    assert y.shape == (2, 5, 3)
    np.testing.assert_array_equal(y[:, 0], x[:, 0])
    for rows, kept in zip(x, y):
        places = [int(np.flatnonzero((rows == row).all(1))[0]) for row in kept]
        assert places == sorted(set(places))


def test_activations_inside_survive_the_change_to_sync_batch_norm():
    module = norm_act.BatchNormAct2d(4, act_layer=torch.nn.SiLU)
    layer = paddle.nn.Sequential(paddle_layer(module), paddle.nn.BatchNorm2D(4))
    names = list(layer.state_dict())
    layer = timm_norm_leaves.sync_batch_norms(layer)
    assert list(layer.state_dict()) == names
    assert isinstance(layer[0], timm_norm_leaves.SyncBatchNormAct2d) and isinstance(layer[0].act, paddle.nn.Silu)
    assert type(layer[1]) is paddle.nn.SyncBatchNorm


REFUSED = {
    "dilation=2": lambda: torch.nn.MaxPool2d(3, dilation=2),
    "track_running_stats=True": lambda: torch.nn.InstanceNorm2d(4, track_running_stats=True),
    "padding_idx=0": lambda: torch.nn.Embedding(4, 3, padding_idx=0),
    "proj_size=2": lambda: torch.nn.LSTM(4, 3, proj_size=2),
    "weight_norm": lambda: torch.nn.utils.spectral_norm(torch.nn.Conv2d(3, 4, 1)),
    "torch.nn.modules.rnn.LSTMCell has no Paddle layer; did you mean LSTM": lambda: torch.nn.LSTMCell(3, 4),
    "torchvision.models.convnext.LayerNorm2d has no": lambda: torchvision.models.convnext.LayerNorm2d(4),
}


@pytest.mark.parametrize("words, make", REFUSED.items(), ids=REFUSED)
def test_what_has_no_counterpart_is_named_when_read(words, make):
    with pytest.raises(UserError) as error:
        read_leaf(make())
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_users_own_leaf_is_taken_by_its_name(monkeypatch):
    class Doubled(torch.nn.Module):
        times = 2

    assert not is_leaf(Doubled())
    monkeypatch.setitem(LEAVES, "Doubled", Leaf(lambda times: paddle.nn.Dropout(times / 4), ("times",)))
    assert is_leaf(Doubled())
    assert build_leaf(read_leaf(Doubled())).p == 0.5
