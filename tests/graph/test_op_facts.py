# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The facts in the table of operations (view, creates, random, metadata) against torch, with the cases of the table."""
import numpy as np
import pytest

from ppdet_ext.graph import ops
from ppdet_ext.graph.ops import dtype

torch = pytest.importorskip("torch", reason="the reference is torch")
pytest.importorskip("timm", reason="some operations are timm's functions")
pytest.importorskip("torchvision", reason="some operations are torchvision's functions")

from support.leaf_cases import CASES as LEAF_CASES  # noqa: E402
from support.op_cases import CASES  # noqa: E402
from support.torch_calls import flat, torch_call, torch_function  # noqa: E402

IN_PLACE = {"_operator.setitem", *(name for name in ops.OPS if name.endswith("_") and not name.startswith("_")),
            *(name for name in ops.OPS if name.startswith("_operator.i") and name != "_operator.invert")}
# calls that share memory, where no case does: a cast to what a tensor is already
NAMES = {**dtype.NAMES, "bfloat16": "bfloat16", "byte": "uint8", "bool": "bool"}
SHARING = {**{f".{name}": [torch.ones(2, dtype=getattr(torch, kind))] for name, kind in NAMES.items()},
           **{name: [torch.ones(2), torch.float32] for name in (".to", ".type")}, "torch.as_tensor": [torch.ones(2)]}


def storages(values):
    return {value.untyped_storage().data_ptr() for value in flat(values) if isinstance(value, torch.Tensor)
            and value.numel()}


def shares(name):
    """Whether in one of the cases the result of torch's function has memory of an argument's."""
    calls = [(torch_call(name, case)[:2]) for case in CASES[name] if not in_place(case)]
    if name in SHARING:
        calls.append((torch_function(name)(*SHARING[name]), SHARING[name]))
    return any(storages(result) & storages(given) for result, given in calls)


def in_place(case):
    """Whether a case sets torch's ``inplace``, always an argument of functions of one tensor."""
    return case.kwargs.get("inplace") or (len(case.args) == 2 and case.args[1] is True)


@pytest.mark.parametrize("name", sorted(set(ops.OPS) - IN_PLACE))
def test_a_view_is_one_in_torch_and_nothing_else_is(name):
    assert shares(name) == ops.OPS[name].view


@pytest.mark.parametrize("name", sorted(LEAF_CASES))
def test_a_leaf_that_is_a_view_is_one_in_torch_in_evaluation(name):
    found = []
    for case in LEAF_CASES[name]:
        if getattr(case.make(), "inplace", False):
            continue
        inputs = [torch.randn(one) if isinstance(one, tuple) else one for one in case.inputs]
        with torch.no_grad():
            found.append(bool(storages(case.make().eval()(*inputs)) & storages(inputs)))
    assert any(found) == ops.LEAVES[name].view


@pytest.mark.parametrize("name", sorted(set(ops.OPS) - IN_PLACE))
def test_what_creates_makes_a_tensor_of_numbers(name):
    def creates(case):
        result, given, _ = torch_call(name, case)
        tensors = [value for value in flat(given) if isinstance(value, torch.Tensor)]
        return not tensors and any(isinstance(value, torch.Tensor) for value in flat(result))

    assert any(map(creates, CASES[name])) == ops.OPS[name].creates


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_is_random_draws_anew(name):
    if "empty" in name:  # what is in it is chance, and does not matter
        return

    def drawn(seed):
        torch.manual_seed(seed)
        return [torch_call(name, case)[0] for case in CASES[name]]

    runs = [[np.asarray(value.detach()) for value in flat(drawn(seed)) if isinstance(value, torch.Tensor)
             and value.dtype != torch.bfloat16] for seed in range(6)]
    different = any(not np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
                    for run in runs[1:] for one, other in zip(runs[0], run))
    assert different == ops.OPS[name].random


@pytest.mark.parametrize("name", sorted(name for name, entry in ops.OPS.items() if entry.metadata))
def test_what_reads_metadata_gives_the_same_for_other_contents(name):
    for case in CASES[name]:
        assert torch_call(name, case)[0] == torch_call(name, case, lambda array: array * 0)[0]
