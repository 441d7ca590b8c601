# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The kernels are on inside kernels.enabled() only; outside Paddle's functions are the very same objects."""
import threading

import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn
from support.detector_cases import build_detector, train_batch

from ppdet_ext import kernels
from ppdet_ext.detector import attention, flat_attention
from ppdet_ext.kernels import linear, onednn, transpose
from ppdet_ext.patches import ledger


def functions():
    """What stands at the targets of the kernels' rows."""
    places = [change.target for row in ledger.rows() if row.group == "kernels" for change in row.changes]
    return {place: getattr(*ledger.resolve(place)) for place in places}


@pytest.fixture
def off(kernels_on):
    with kernels.disabled():
        yield


def test_they_are_put_in_and_taken_out(off):
    before = functions()
    with kernels.enabled():
        inside = functions()
        with kernels.enabled():
            assert functions() == inside and kernels.active()
        assert functions() == inside and kernels.active()
        with kernels.disabled():
            assert functions() == before and not kernels.active()
        assert functions() == inside and kernels.active()
    assert functions() == before and not kernels.active()
    assert not set(inside.values()) & set(before.values())


def test_an_error_inside_turns_them_off_too(off):
    with pytest.raises(KeyError), kernels.enabled():
        raise KeyError
    assert not kernels.active()


def test_it_decorates(off):
    seen = kernels.enabled()(kernels.active)
    assert [seen(), kernels.active(), seen()] == [True, False, True]


def test_threads_that_overlap(off):
    """The first to leave does not turn them off for the others."""
    before, inside, leave = functions(), threading.Event(), threading.Event()

    def longer():
        with kernels.enabled():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=longer)
    with kernels.enabled():
        thread.start()
        assert inside.wait(30)
    assert kernels.active()
    leave.set()
    thread.join()
    assert not kernels.active() and functions() == before


@pytest.mark.parametrize("name", kernels.SWITCHES)
def test_the_switches(off, name, monkeypatch):
    said = []
    kernels._say_new_name.cache_clear()
    monkeypatch.setattr(kernels.logger, "info", lambda text, *given: said.append(text % given))
    monkeypatch.setenv(name, "0")
    for _ in range(2):
        with kernels.enabled():
            assert not kernels.active()
    assert said == ["PPDET_EXT_ONEDNN=0 is now called PPDET_EXT_KERNELS=0; both turn all kernels off"] * (
        name == "PPDET_EXT_ONEDNN")


def test_nothing_of_a_training_step_runs_in_a_kernel_outside(off, monkeypatch):
    """Also not where a function was looked up inside."""
    used = []
    for module, name in ((onednn._Computation, "__call__"), (transpose, "_copied"), (linear.Linear, "apply"),
                         (attention, "sample_flat")):
        own = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, name=name, own=own: used.append(name) or own(*args))
    model = build_detector(eval_size=[64, 64], RTDETRTransformer={"num_queries": 20}).train()
    with kernels.enabled():
        taken = F.relu
        model(train_batch(64, 64, 1))["loss"].backward()
    assert set(used) == {"__call__", "_copied", "apply", "sample_flat"}
    used.clear()
    model(train_batch(64, 64, 1))["loss"].backward()
    taken(paddle.rand([256, 256]))
    nn.Linear(3, 3)(paddle.rand([2, 3])).sum().backward()
    assert used == []


@pytest.mark.parametrize("place", ["value", "weights"])
def test_operands_of_the_attention_must_not_be_changed_in_place(place):
    given = {"value": paddle.rand([1, 20, 8]), "weights": paddle.rand([1, 3, 2, 4]), "offsets": paddle.rand([1, 3, 16])}
    for tensor in given.values():
        tensor.stop_gradient = False
    given = {name: tensor * 1.0 for name, tensor in given.items()}
    y = flat_attention.sample_flat(given["value"], [(4, 4), (2, 2)], given["offsets"], paddle.full([1, 3, 1, 4], 0.5),
                                   given["weights"], [2, 2], paddle.ones([4]))
    given[place].add_(given[place].detach())
    with pytest.raises((OSError, RuntimeError), match="in ?place"):
        y.sum().backward()
