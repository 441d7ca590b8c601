# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Every operation of the bridge's table against torch: values, gradients, static graphs with open sizes."""
import warnings

import numpy as np
import paddle
import pytest
from support.op_cases import CASES, Case, Dyn

from ppdet_ext.errors import UserError
from ppdet_ext.graph import ops
from ppdet_ext.graph.ops import arithmetic
from ppdet_ext.weights.parity import relative_error

torch = pytest.importorskip("torch", reason="the reference is torch")
timm = pytest.importorskip("timm", reason="some operations are timm's functions")
pytest.importorskip("torchvision", reason="some operations are torchvision's functions")

pytestmark = pytest.mark.torch
warnings.filterwarnings("ignore", module="torch")

from support.torch_calls import arguments, arrays, flat, torch_call, torch_function  # noqa: E402

# one name of each function: what differs between names is only how torch is called
ALIASES = {}
for _name, _entry in ops.OPS.items():
    ALIASES.setdefault(_entry.function, []).append(_name)


def torch_result(name, case):
    """(flat results, input tensors)."""
    result, given, tensors = torch_call(name, case, grad=case.grad)
    if name == "_operator.setitem":
        result = given[0]
    return flat(list(result) if isinstance(result, torch.Size) else result), tensors


# -- Paddle ------------------------------------------------------------------------------------------------------------

def paddle_call(name, case, tensors):
    source = (tensors if case.like is None else tensors[-1:])
    shape = ops.OPS["getattr.shape"].function(source[0]) if source else None
    args, kwargs = arguments(case, tensors, shape)
    return flat(ops.OPS[name].function(*args, **kwargs))


def paddle_result(name, case):
    tensors = [paddle.to_tensor(array, stop_gradient=array.dtype != np.float32) for array in arrays(case)]
    return paddle_call(name, case, tensors), tensors


@paddle.jit.not_to_static
def tensors_of(results):
    """Numbers as tensors, for a graph gives nothing else."""
    return [item if isinstance(item, ops._values.TENSORS) else paddle.full([], item, _number_dtype(item))
            for item in results]


class Call(paddle.nn.Layer):
    """One case as a network."""

    def __init__(self, name, case):
        super().__init__()
        self.call = paddle.jit.not_to_static(lambda tensors: tensors_of(paddle_call(name, case, tensors)))

    def forward(self, tensors):
        return self.call(tensors)


def static_result(name, case):
    """The results as arrays, of a graph that leaves the sizes open."""
    inputs = arrays(case)
    anchor = len(inputs) - 1 if case.like is not None else 0
    specs = []
    for place, array in enumerate(inputs):
        hidden = range(array.ndim) if case.open is None else case.open if place == anchor else ()
        shape = [-1 if dim in hidden else size for dim, size in enumerate(array.shape)]
        specs.append(paddle.static.InputSpec(shape, str(array.dtype), f"x{place}"))

    graph = paddle.jit.to_static(Call(name, case), input_spec=[specs], full_graph=True)
    with paddle.no_grad():
        return graph([paddle.to_tensor(array) for array in inputs])


def _number_dtype(value):
    return {bool: "bool", int: "int64"}.get(type(value), "float32")


# -- comparison --------------------------------------------------------------------------------------------------------

def numpy_of(value):
    if isinstance(value, torch.Tensor):
        return value.detach().float().numpy() if value.dtype == torch.bfloat16 else value.detach().numpy()
    if isinstance(value, paddle.Tensor):
        return value.astype("float32").numpy() if "bfloat16" in str(value.dtype) else value.numpy()
    return np.asarray(value)


def check(name, case, out, ref, numbers=True):
    assert len(out) == len(ref), f"{name}: {len(out)} results, torch gives {len(ref)}"
    for ours, theirs in zip(out, ref):
        if isinstance(theirs, torch.device):
            continue
        if isinstance(theirs, (str, torch.dtype)) or theirs is None:
            assert str(ours) == str(theirs).replace("torch.", "")
            continue
        a, b = numpy_of(ours), numpy_of(theirs)
        if isinstance(theirs, torch.Tensor):
            assert a.shape == b.shape, f"{name}: shape {a.shape}, torch has {b.shape}"
            assert str(a.dtype) == str(b.dtype), f"{name}: {a.dtype}, torch has {b.dtype}"
        elif numbers:
            assert type(ours) is type(theirs), f"{name}: {type(ours)}, torch has {type(theirs)}"
        if case.random:
            continue
        same = np.isnan(a) & np.isnan(b) | (a == b) if a.dtype.kind == "f" else np.zeros(a.shape, bool)
        error = relative_error(np.where(same, 0, a), np.where(same & ~np.isfinite(b), 0, np.where(same, 0, b))) \
            if not np.isfinite(b).all() else relative_error(a, b)
        assert error <= case.limit, f"{name}: max|d|/max|ref| = {error:.1e}"


def check_gradients(name, case, out, ref, inputs, torch_inputs):
    pairs = [(ours, theirs) for ours, theirs in zip(out, ref)
             if isinstance(theirs, torch.Tensor) and theirs.requires_grad]
    if not pairs:
        return
    weights = [np.random.default_rng(0).standard_normal(tuple(theirs.shape)).astype(np.float32) for _, theirs in pairs]
    sum((theirs * torch.from_numpy(weight)).sum() for (_, theirs), weight in zip(pairs, weights)).backward()
    paddle.add_n([(ours.astype("float32") * paddle.to_tensor(weight)).sum() for (ours, _), weight
                  in zip(pairs, weights)]).backward()
    for place, (ours, theirs) in enumerate(zip(inputs, torch_inputs)):
        if theirs.grad is None or not theirs.grad.abs().max() > 0:
            continue
        assert ours.grad is not None, f"{name}: no gradient for tensor {place}"
        error = relative_error(numpy_of(ours.grad), theirs.grad)
        assert error <= 10 * case.limit, f"{name}: gradient of tensor {place}: max|d|/max|ref| = {error:.1e}"


@pytest.mark.parametrize("name", sorted(CASES))
def test_values_and_gradients_are_torchs(name):
    for place, case in enumerate(CASES[name]):
        ref, torch_inputs = torch_result(name, case)
        out, inputs = paddle_result(name, case)
        label = f"{name} case {place}"
        check(label, case, out, ref)
        if case.grad and not case.random:
            check_gradients(label, case, out, ref, inputs, torch_inputs)


@pytest.mark.parametrize("name", sorted(names[0] for names in ALIASES.values()))
def test_static_graph_with_open_sizes(name):
    for place, case in enumerate(CASES[name]):
        ref = torch_result(name, case)[0]
        if case.static and any(isinstance(item, (torch.Tensor, bool, int, float)) for item in ref):
            check(f"{name} case {place}, static", case, static_result(name, case), ref, numbers=False)


def test_every_operation_has_a_case():
    assert set(ops.OPS) == set(CASES)
    assert all(CASES[name] for name in CASES)


def test_names_are_those_the_tracer_writes_down():
    """torch.nn.functional.gelu says of itself that it is torch._C._nn.gelu."""
    for name in ops.OPS:
        if not name.startswith((".", "getattr.")):
            function = torch_function(name)
            assert f"{function.__module__}.{function.__name__}" in ops.OPS, name


def test_a_size_that_a_graph_leaves_open_is_refused_where_numbers_are_needed():
    case = Case(np.zeros((1, 17, 4), np.float32), [3, Dyn(lambda s: s[1])])
    with pytest.raises(UserError, match="export with a fixed image size"):
        static_result("timm.layers.pos_embed.resample_abs_pos_embed", case)


@pytest.mark.parametrize("mask, learns, spread", [
    ([1, 4, 1, 5], False, [1, 4, 3, 5]), ([2, 4, 1, 5], False, [2, 4, 3, 5]),  # Swin's masks
    ([1, 4, 1, 5], True, [1, 4, 1, 5]),  # its gradient would be a sum of its own
    ([2, 1, 1, 5], False, [2, 1, 1, 5]), ([1, 4, 3, 5], False, [1, 4, 3, 5]), ([3, 5], False, [3, 5])])
def test_a_mask_is_spread_over_a_middle_axis(mask, learns, spread):
    x, mask = paddle.randn([2, 4, 3, 5]), paddle.randn(mask)
    mask.stop_gradient = not learns
    assert arithmetic._spread(mask, x).shape == spread
    np.testing.assert_array_equal(arithmetic.add(x, mask).numpy(), (x + mask).numpy())
