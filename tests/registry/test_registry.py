# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Registering and building: clashes, settings, and what stays behind."""
import copy

import paddle
import pytest
import yaml
from ppdet.core import workspace
from ppdet.core.workspace import create, global_config
from support.registry_fixtures import clean_registry  # noqa: F401

from ppdet_ext import registry
from ppdet_ext.errors import UserError

pytestmark = pytest.mark.usefixtures("clean_registry")


class Part:
    __shared__ = ["num_classes"]

    def __init__(self, num_classes=80, size=1, names=["a"]):
        self.num_classes, self.size, self.names = num_classes, size, names


class Whole:
    __inject__ = ["part"]

    def __init__(self, part="Part", depth=2):
        self.part, self.depth = part, depth


class FromShape:
    def __init__(self, channels, depth=1):
        self.channels, self.depth = channels, depth

    @classmethod
    def from_config(cls, cfg, input_shape):
        return {"channels": list(input_shape)}


@pytest.fixture
def parts(clean_registry):  # noqa: F811
    registry.register(Part)
    registry.register(Whole)
    registry.register(FromShape)


def test_taken_name_raises_and_says_who_holds_it():
    with pytest.raises(UserError, match=r"'CSPResNet' is taken by ppdet\.modeling\.backbones\.cspresnet\.CSPResNet"):
        registry.register(type("CSPResNet", (), {}))
    assert create("CSPResNet").__class__.__module__ == "ppdet.modeling.backbones.cspresnet"


def test_name_of_a_config_value_is_taken_too():
    global_config["metric"] = "COCO"
    with pytest.raises(UserError, match="'metric' is taken by a config value"):
        registry.register(type("metric", (), {}))


def test_two_of_our_own_with_one_name_clash(parts):
    def other():
        class Part:
            pass
        return Part

    with pytest.raises(UserError, match="'Part' is taken by test_registry.Part"):
        registry.register(other())


def test_the_same_class_may_come_again(parts, log):
    """A notebook cell run twice defines its class twice."""
    registry.register(type("Part", (), {"__module__": Part.__module__, "__init__": lambda self, width=3: None}))
    assert registry.build("Part", width=2) and not log.records


def test_replacing_is_explicit_and_logged(log):
    made = registry.register(replace=True)(type("CSPResNet", (), {"__init__": lambda self, x=3: None}))
    assert type(create("CSPResNet")) is made
    [record] = log.records
    assert record.levelname == "WARNING"
    assert "replaces ppdet.modeling.backbones.cspresnet.CSPResNet" in record.getMessage()


def test_only_classes_register():
    with pytest.raises(UserError, match="takes a class"):
        registry.register(lambda: None)


def test_settings_read_before_the_class_are_kept():
    global_config["Late"] = {"size": 7}
    registry.register(type("Late", (), {"__init__": lambda self, size=1: setattr(self, "size", size)}))
    assert create("Late").size == 7


def test_class_made_in_a_function_is_found_by_ppdet(parts):
    class Inner:
        def __init__(self, size=4):
            self.size = size

    registry.register(Inner)
    assert create("Inner").size == 4
    copy.deepcopy(dict(global_config)["Inner"])  # ppdet's own entries hold a module, which cannot be copied


def test_register_over_wins_and_is_announced_once(log):
    @registry.register_over
    class DINOLoss:
        pass

    @registry.register_over
    class NobodyHoldsThis:
        pass

    assert type(create("DINOLoss")) is DINOLoss
    assert list(registry.announce_replaced()) == ["DINOLoss"]
    assert registry.announce_replaced() == {}
    [record] = log.records
    assert "DINOLoss" in record.getMessage() and "NobodyHoldsThis" not in record.getMessage()


def test_our_detector_is_the_one_in_use():
    for name in ("DETR", "HybridEncoder", "RTDETRTransformer", "DINOHead", "DINOLoss", "HungarianMatcher",
                 "DETRPostProcess", "TransformerLayer", "TimmBackbone", "TorchvisionBackbone"):
        assert registry.holder_of(name).startswith("ppdet_ext."), name


def test_build_from_name_class_mapping_and_instance(parts):
    assert registry.build("Part").size == 1
    assert registry.build(Part).size == 1
    assert registry.build({"name": "Part", "size": 5}).size == 5
    assert registry.build("Part", size=6).size == 6
    layer = paddle.nn.ReLU()
    assert registry.build(layer) is layer


def test_build_takes_a_class_that_is_not_registered(parts):
    class Part(paddle.nn.Layer):
        def __init__(self, size=9):
            super().__init__()
            self.size = size

    class Unknown(Part):
        pass

    assert registry.build(Part).size == 9
    assert registry.build("Part").size == 1
    assert registry.build(Unknown, size=2).size == 2
    assert "Unknown" not in global_config


def test_build_honours_section_shared_and_inject(parts):
    global_config["num_classes"] = 12
    global_config["Part"]["size"] = 3
    whole = registry.build("Whole")
    assert (whole.part.num_classes, whole.part.size) == (12, 3)
    assert registry.build({"name": "Part", "num_classes": 4}).num_classes == 4


def test_build_gives_kwargs_to_from_config(parts):
    made = registry.build({"name": "FromShape", "depth": 3}, input_shape=[8, 16])
    assert (made.channels, made.depth) == ([8, 16], 3)


def test_settings_do_not_stay_behind(parts):
    given = {"name": "Whole", "depth": 5, "part": {"name": "Part", "size": 8, "names": ["b"]}}
    before = copy.deepcopy(given)
    whole = registry.build(given)
    assert (whole.depth, whole.part.size) == (5, 8)
    whole.part.names.append("c")
    assert given == before
    assert dict(global_config["Whole"]) == {} and dict(global_config["Part"]) == {}
    assert registry.build("Part").size == 1
    # what build prevents: ppdet's create leaves the nested settings in the global config
    global_config["Whole"]["part"] = given["part"]
    create("Whole")
    assert global_config["Part"]["size"] == 8


def test_settings_do_not_stay_behind_after_an_error(parts):
    @registry.register
    class Picky:
        def __init__(self, size=1):
            self.size = size
            if size == 2:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        registry.build(Picky, size=2)
    assert registry.build("Picky").size == 1


@pytest.mark.parametrize("spec, message", [
    ("Prat", r"no class is registered as 'Prat'; did you mean Part"),
    ({"name": "Part", "sise": 3}, r"Part has no setting 'sise'; did you mean size"),
    ({"name": "Whole", "part": {"name": "Part", "nmes": 3}}, r"Part has no setting 'nmes'; did you mean names"),
    ({"name": "Whole", "part": "Prat"}, r"no class is registered as 'Prat'"),
    ({"size": 3}, r"registered name, a class, or \{name"),
    (7, r"cannot build from 7"),
    ("num_classes_", r"no class is registered"),
])
def test_mistakes_are_named(parts, spec, message):
    with pytest.raises(UserError, match=message) as caught:
        registry.build(spec)
    assert "\n" not in str(caught.value)


def test_unknown_setting_in_the_config_section_is_named(parts):
    workspace.merge_config({"Part": {"sze": 3}})
    with pytest.raises(UserError, match="Part has no setting 'sze'; did you mean size"):
        registry.build("Part")


def test_missing_required_setting_is_named():
    registry.register(type("Needs", (), {"__init__": lambda self, channels: None}))
    with pytest.raises(UserError, match="Needs needs a setting 'channels'"):
        registry.build("Needs")


def test_serializable_round_trip():
    @registry.serializable
    class Warm:
        def __init__(self, steps=3):
            self.steps = steps

    made = yaml.load("!Warm {steps: 9}", Loader=yaml.FullLoader)
    assert made.steps == 9
    assert yaml.dump(made).strip() == "!Warm\nsteps: 9"
