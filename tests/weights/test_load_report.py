# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""load_report: exact names, one clear line, nothing written unless all of it fits; and parity's measure."""
import numpy as np
import pytest
from paddle import nn

from ppdet_ext.errors import UserError
from ppdet_ext.weights import parity
from ppdet_ext.weights.load_report import fold, load_into


def net():
    return nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.Linear(4, 2))


def right(layer, value=2.0):
    return {name: np.full(tensor.shape, value, np.float32) for name, tensor in layer.state_dict().items()}


def snapshot(layer):
    return {name: tensor.numpy().copy() for name, tensor in layer.state_dict().items()}


def test_all_that_fits_is_written():
    layer = net()
    report = load_into(layer, right(layer), source="x")
    assert (len(report.matched), report.missing, report.unexpected, report.mismatched) == (8, (), (), ())
    assert all((value == 2).all() for value in snapshot(layer).values())
    assert "matched 8, missing 0" in str(report) and "from x" in str(report)


@pytest.mark.parametrize("damage, words", [
    (lambda t: t.pop("2.bias"), ["missing: 1: 2.bias"]),
    (lambda t: t.update({"extra.weight": np.zeros(1)}), ["unexpected: 1: extra.weight"]),
    (lambda t: t.update({"0.weight": np.zeros((4, 1, 3, 3))}), ["0.weight (wanted [4, 3, 3, 3], given [4, 1, 3, 3])"]),
    (lambda t: t.update({"0.weight": np.zeros((4, 3, 3, 3), np.int8)}), ["0.weight", "int8", "quantised"]),
])
def test_problems_are_named_and_nothing_is_written(damage, words):
    layer = net()
    tensors, before = right(layer), snapshot(layer)
    damage(tensors)
    with pytest.raises(UserError) as error:
        load_into(layer, tensors)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)
    for name, value in snapshot(layer).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_suffix_is_not_a_match():
    layer = net()
    with pytest.raises(UserError):
        load_into(layer, {f"backbone.{name}": value for name, value in right(layer).items()})


def test_another_arch_is_one_clear_line():
    with pytest.raises(UserError, match=r"is not for resnet7: only 0 of its 8 .* lacks 8: .* holds 1: other.weight"):
        load_into(net(), {"other.weight": np.zeros(3)}, label="resnet7")


def test_what_is_allowed_stays_as_it_was():
    layer = net()
    tensors, before = right(layer), snapshot(layer)
    tensors["2.weight"] = np.zeros((4, 7), np.float32)
    del tensors["2.bias"]
    report = load_into(layer, {**tensors, "aux.w": np.zeros(1)}, allow=["2.*", "aux.*"])
    np.testing.assert_array_equal(layer[2].weight.numpy(), before["2.weight"])
    assert (layer[0].weight.numpy() == 2).all()
    assert report.missing == ("2.bias",) and report.mismatched[0].given == (4, 7) and report.unexpected == ("aux.w",)


def test_one_pattern_may_come_without_a_list():
    layer = net()
    tensors = right(layer)
    del tensors["2.bias"]
    load_into(layer, tensors, allow="2.*")
    with pytest.raises(UserError, match="missing: 1: 2.bias"):
        load_into(layer, tensors, allow="0.*")  # of its letters, '*' would allow all


def test_unused_prefixes_drop_only_what_the_layer_lacks():
    layer = net()
    report = load_into(layer, {**right(layer), "head.weight": np.zeros(1)}, unused=("head.", "2."))
    assert report.unused == ("head.weight",) and len(report.matched) == 8
    tensors = right(layer)
    del tensors["2.bias"]
    with pytest.raises(UserError, match="missing"):
        load_into(layer, tensors, unused=("2.",))


def test_fold():
    names = [f"layers.{i}.{j}.w" for i in range(6) for j in range(2)] + ["stem.w", "a.1.b"]
    assert fold(names) == ["layers.0...5.0...1.w (12)", "stem.w", "a.1.b"]


def test_relative_error():
    assert parity.relative_error([1.0, 2.0], [1.0, 4.0]) == 0.5
    assert parity.relative_error([0.0], [0.0]) == 0
    assert parity.relative_error([np.nan], [1.0]) == float("inf")
    assert parity.relative_error([1.0], [0.0]) == float("inf")
    with pytest.raises(ValueError, match="shape"):
        parity.relative_error([1.0], [1.0, 2.0])


def test_compare_stages_and_its_table():
    rows = parity.compare_stages({"a": np.ones((1, 2)), "b": np.ones(3)}, {"b": np.ones(3), "a": np.full((1, 2), 2.0)})
    assert [(row.name, row.error) for row in rows] == [("a", 0.5), ("b", 0.0)]
    assert "1x2" in parity.table(rows)
    with pytest.raises(UserError, match="parity lost: a 5.00e-01"):
        parity.check(rows)
