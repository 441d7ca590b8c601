# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Torch modules that a registered class holds, or is: values, names, training, and what cannot be bridged."""
import copy
import gc
import weakref

import numpy as np
import paddle
import pytest
from ppdet.modeling.shape_spec import ShapeSpec
from support.registry_fixtures import clean_registry  # noqa: F401

from ppdet_ext import registry
from ppdet_ext.errors import Unsupported, UserError
from ppdet_ext.graph.ops import LEAVES, OPS, leaf, op
from ppdet_ext.registry import user_class
from ppdet_ext.weights.parity import relative_error
from rt_detr_paddle import register

torch = pytest.importorskip("torch", reason="the modules to bridge are torch's")
tnn = torch.nn
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("clean_registry")]
LIMIT = 1e-5


def block(in_channels, out_channels, stride=2):
    norm = tnn.BatchNorm2d(out_channels)
    with torch.no_grad():
        norm.running_mean.uniform_(-0.5, 0.5), norm.running_var.uniform_(0.5, 2), norm.weight.uniform_(0.5, 2)
    return tnn.Sequential(tnn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False), norm, tnn.ReLU())


def stages():
    return [block(3, 4, 8), block(4, 6), block(6, 8)]


def holder(build, forward):
    """A registered class whose constructor is ``build``; its instance."""
    name = "Holder"
    return registry.build(register(type(name, (), {"__init__": build, "forward": forward})))


def images(height=64, width=96):
    return np.random.randn(2, 3, height, width).astype("float32")


def check_parity(layer, module, outputs=lambda out: out):
    """Worst error of the features that ``layer`` and ``module`` (in evaluation) give."""
    image = images()
    layer.eval()
    module.eval()
    with torch.no_grad():
        wanted = outputs(module(torch.from_numpy(image)))
    given = layer({"image": paddle.to_tensor(image)})
    wanted = [wanted] if isinstance(wanted, torch.Tensor) else list(wanted)
    errors = [relative_error(ours, theirs) for ours, theirs in zip(given, wanted)]
    print(f"max|d|/max|ref| {max(errors):.2e}")
    assert len(given) == len(wanted) and max(errors) <= LIMIT


def trained(layer):
    """Names of the parameters that are trained; Paddle counts statistics among the parameters."""
    return [name for name, parameter in layer.named_parameters() if not parameter.stop_gradient]


def check_trains(layer):
    """A step in training mode changes every parameter and the statistics."""
    layer.train()
    before = {name: value.numpy().copy() for name, value in layer.state_dict().items()}
    optimizer = paddle.optimizer.SGD(0.1, parameters=layer.parameters())
    features = layer({"image": paddle.to_tensor(images())})
    paddle.add_n([(feature ** 2).mean() for feature in features]).backward()
    optimizer.step()
    same = [name for name, value in layer.state_dict().items() if (value.numpy() == before[name]).all()]
    assert before and not same


class Chain(tnn.Module):
    """Three features of a user's own module, which knows a second parameter."""

    def __init__(self):
        super().__init__()
        self.stages = tnn.ModuleList(stages())

    def forward(self, x, mask=None):
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x if mask is None else x * mask)
        return features


def keep(module):
    def build(self):
        self.model = module
    return build


def call_model(self, x):
    return self.model(x)


@pytest.mark.parametrize("arch, size, settings", [
    ("resnet18", 64, {}),
    ("mobilenetv3_small_050", 64, {}),
    ("vit_tiny_patch16_224", 224, {"depth": 2, "out_indices": (0, 1)}),
])
def test_timm_features_only(arch, size, settings):
    timm = pytest.importorskip("timm", reason="builds a timm network")
    module = timm.create_model(arch, features_only=True, **settings)
    layer = holder(keep(copy.deepcopy(module)), call_model)
    assert layer.pretrained_cfg.mean == module.pretrained_cfg["mean"]
    assert layer.model.feature_info.channels() == module.feature_info.channels()
    channels = dict(zip(module.feature_info.reduction(), module.feature_info.channels()))
    assert [spec.channels for spec in layer.out_shape] == [channels[spec.stride] for spec in layer.out_shape]
    image = images(size, size)
    layer.eval()
    module.eval()
    given = layer.forward(paddle.to_tensor(image))
    with torch.no_grad():
        wanted = module(torch.from_numpy(image))
    errors = [relative_error(ours, theirs) for ours, theirs in zip(given, wanted)]
    print(f"{arch}: max|d|/max|ref| {max(errors):.2e}")
    assert len(given) == len(wanted) and max(errors) <= LIMIT


def test_a_users_own_module(log):
    module = Chain()
    layer = holder(keep(module), call_model)
    assert layer.out_shape == [ShapeSpec(4, stride=8), ShapeSpec(6, stride=16), ShapeSpec(8, stride=32)]
    assert "Holder.model is bridged from torch's Chain: matched 15, missing 0" in log.text
    names = {name.replace("running_mean", "_mean").replace("running_var", "_variance")
             for name in module.state_dict() if "num_batches" not in name}
    assert {f"model.{name}" for name in names} == set(layer.state_dict())
    check_parity(layer, module)
    check_trains(layer)


def test_the_torch_module_is_let_go():
    module = Chain()
    gone = weakref.ref(module)
    layer = holder(keep(module), call_model)
    del module, type(layer).__init__  # which holds it too, through ``keep``
    gc.collect()
    assert gone() is None
    assert len(trained(layer)) == 9


CONTAINERS = {
    "list": (lambda parts: parts, "stages.0.0.weight"),
    "tuple": (tuple, "stages.0.0.weight"),
    "dict": (lambda parts: {f"s{index}": part for index, part in enumerate(parts)}, "stages.s0.0.weight"),
    "ModuleList": (tnn.ModuleList, "stages.0.0.weight"),
    "ModuleDict": (lambda parts: tnn.ModuleDict({f"s{index}": part for index, part in enumerate(parts)}),
                   "stages.s0.0.weight"),
    "Sequential taken apart": (lambda parts: tnn.Sequential(*parts), "stages.0.0.weight"),
    "nested": (lambda parts: [parts[:1], {"rest": parts[1:]}], "stages.0.0.0.weight"),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_modules_in_containers(kind):
    wrap, name = CONTAINERS[kind]
    module = Chain()

    def build(self):
        self.stages = wrap(list(module.stages))

    def forward(self, x):
        held = self.stages
        if kind == "nested":
            held = [held[0][0], *held[1]["rest"]]
        elif hasattr(held, "values"):
            held = held.values()
        features = []
        for stage in held:
            x = stage(x)
            features.append(x)
        return features

    layer = holder(build, forward)
    assert name in layer.state_dict() and len(trained(layer)) == 9
    check_parity(layer, module)
    check_trains(layer)


def test_children_called_one_by_one(log):
    """As one takes a classifier apart: the head stays behind, and is said to."""
    def build(self):
        self.model = tnn.Module()
        self.model.stem, self.model.body, self.model.width = block(3, 4, 4), tnn.Sequential(*stages()[1:]), 8
        self.model.fc, self.other = tnn.Linear(8, 10), tnn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.model.stem(x)
        x = self.model.body[0](x)
        return [x, self.model.body[-1](x)] if self.model.width == 8 else None

    layer = holder(build, forward)
    assert layer.out_shape == [ShapeSpec(6, stride=8), ShapeSpec(8, stride=16)]
    assert sorted({name.partition("model.")[2].split(".")[0] for name in layer.state_dict()}) == ["body", "stem"]
    assert "forward does not call Holder.other" in log.text
    with pytest.raises(UserError, match=r"Holder\.model\.fc was not bridged.*derive Holder from torch\.nn\.Module"):
        layer.model.fc(paddle.rand([1, 8]))
    check_trains(layer)


def test_a_module_used_twice_is_one():
    shared = block(4, 4, 2)

    def build(self):
        self.first, self.again, self.more = block(3, 4, 8), shared, [shared]

    def forward(self, x):
        x = self.first(x)
        return [x, self.again(x), self.more[0](self.again(x))]

    layer = holder(build, forward)
    assert len(trained(layer)) == 6 and layer.again is layer.more[0]
    assert [spec.stride for spec in layer.out_shape] == [8, 16, 32]


def test_one_module_inside_another():
    """A block twice in one module, and two convolutions with one weight."""
    class Tied(tnn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block = block(3, 4, 8), block(4, 4, 1)
            self.again, self.a, self.b = self.block, tnn.Conv2d(4, 4, 1), tnn.Conv2d(4, 4, 1)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(torch.relu(self.a(self.again(self.block(self.stem(x))))))

    module = Tied()
    layer = holder(keep(module), call_model)
    assert len(trained(layer)) == 3 + 3 + 3
    check_parity(layer, module)
    check_trains(layer)


def test_frozen_parameters_stay_frozen():
    module = Chain()
    module.stages[0].requires_grad_(False)
    layer = holder(keep(module), call_model)
    assert len(trained(layer)) == 6 and layer.model.stages["0"]["0"].weight.stop_gradient


def test_state_dict_and_static_graph(tmp_path):
    first, second = holder(keep(Chain()), call_model), holder(keep(Chain()), call_model)
    paddle.save(first.state_dict(), str(tmp_path / "a.pdparams"))
    second.set_state_dict(paddle.load(str(tmp_path / "a.pdparams")))
    image = paddle.to_tensor(images())
    second.eval()
    first.eval()
    wanted = first({"image": image})
    assert all((ours.numpy() == theirs.numpy()).all() for ours, theirs in zip(second({"image": image}), wanted))
    assert len(second.out_shape) == 3
    copied = copy.deepcopy(second)
    full = {} if paddle.__version__.startswith("2") else {"full_graph": True}
    spec = [paddle.static.InputSpec([None, 3, None, None], name="image")]
    paddle.jit.save(paddle.jit.to_static(copied, input_spec=spec, **full), str(tmp_path / "model"))
    for given, feature in zip(paddle.jit.load(str(tmp_path / "model"))(image), wanted):
        np.testing.assert_allclose(given.numpy(), feature.numpy(), atol=1e-5)


def test_paddledetections_style_around_a_torch_module():
    class Styled(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.model = Chain()

        @property
        def out_shape(self):
            return [ShapeSpec(4, stride=8), ShapeSpec(6, stride=16), ShapeSpec(8, stride=32)]

        def forward(self, inputs):
            return self.model(inputs["image"])

    layer = registry.build(register(Styled))
    assert len(trained(layer)) == 9
    check_trains(layer)


def test_a_subclass_bridges_when_it_is_done():
    class Base:
        def __init__(self):
            self.model = Chain()

        def forward(self, x):
            return self.model(x)

    Base = register(Base)

    class Longer(Base):
        def __init__(self):
            super(Longer, self).__init__()  # noqa: UP008
            self.last = block(8, 8)

        def forward(self, x):
            features = self.model(x)
            return [*features, self.last(features[-1])]

    layer = registry.build(register(Longer))
    assert len(trained(layer)) == 12 and [spec.stride for spec in layer.out_shape] == [8, 16, 32]
    assert len(trained(registry.build("Base"))) == 9


# --- a class that is a torch module ----------------------------------------------------------------------------------

def test_a_torch_class():
    class Net(tnn.Module):
        """A user's network.

        Args:
            width (int): channels
        """
        __shared__ = ["in_width"]

        def __init__(self, width=4, in_width=3):
            super(Net, self).__init__()  # noqa: UP008  the older way; the name is the Paddle class by then
            self.first, self.second = block(in_width, width, 8), block(width, 2 * width, 2)

        def forward(self, x, extra=None):
            x = torch.relu(self.first(x))
            return {"fine": x, "coarse": torch.cat([self.second(x), self.second(x)], 1)[:, :8]}

    torch_class = Net
    Net = register(Net)
    assert issubclass(Net, paddle.nn.Layer) and Net.__name__ == "Net" and Net.__doc__ == torch_class.__doc__
    assert list(registry.schema_of("Net").schema) == ["width", "in_width"]
    made = []
    remember = torch_class.train
    torch_class.train = lambda self, mode=True: made.append(self) or remember(self, mode)
    layer = registry.build({"name": "Net", "width": 6})
    assert layer.out_shape == [ShapeSpec(6, stride=8), ShapeSpec(8, stride=16)]
    assert "first.0.weight" in layer.state_dict() and "second.1._mean" in layer.state_dict()
    with pytest.raises(UserError, match="no setting 'widht'"):
        registry.build({"name": "Net", "widht": 6})
    module = torch_class.__new__(torch_class)
    tnn.Module.__init__(module)
    module.first, module.second = block(3, 6, 8), block(6, 12, 2)
    layer.set_state_dict({name.replace("running_mean", "_mean").replace("running_var", "_variance"): value.numpy()
                          for name, value in module.state_dict().items()})
    check_parity(layer, module, lambda out: out.values())
    check_trains(layer)


def test_a_torch_class_says_its_own_shapes():
    @register
    class Grey(tnn.Module):
        in_chans = 1

        def __init__(self):
            super().__init__()
            self.conv = tnn.Conv2d(1, 4, 8, 8)
            self.out_shape = [ShapeSpec(4, stride=8)]

        def forward(self, inputs):
            return self.conv(inputs["image"])

    layer = registry.build("Grey")
    assert layer.out_shape == [ShapeSpec(4, stride=8)] and layer.in_chans == 1
    assert layer({"image": paddle.rand([2, 1, 32, 64])})[0].shape[:] == [2, 4, 4, 8]


def test_what_the_weights_want():
    """Known before anything is bridged: readers are set up first."""
    class Known(tnn.Module):
        def __init__(self, pretrained=True):
            super().__init__()
            assert not pretrained
            self.net = block(3, 4, 8)
            self.net.pretrained_cfg = {"mean": (0.1,) * 3, "std": (0.2,) * 3, "interpolation": "bicubic"}

        def forward(self, x):
            return self.net(x)

    def build(self, pretrained=True, width=2):
        self.model, self.other = Known(pretrained), tnn.Identity()

    plain = register(type("Plain", (), {"__init__": build, "forward": call_model}))
    for cls in (plain, register(Known)):
        assert user_class.pretrained_cfg(cls, {"pretrained": True, "width": 3}).interpolation == "bicubic"
        assert registry.build(cls, pretrained=False).pretrained_cfg.std == (0.2,) * 3
    assert user_class.pretrained_cfg(register(Chain)) is None


# --- what cannot be bridged ------------------------------------------------------------------------------------------

class Odd(tnn.Module):
    """A module that the table does not have, with an operation that it does not have either."""

    def __init__(self):
        super().__init__()
        self.body, self.strange = block(3, 4, 8), tnn.LPPool2d(2, 2)

    def forward(self, x):
        return self.body(x)


class UnknownLeaf(Odd):
    def forward(self, x):
        return self.strange(self.body(x))


class UnknownOp(Odd):
    def forward(self, x):
        return torch.special.i0e(self.body(x))


class DataDependent(Odd):
    def forward(self, x):
        return self.body(x) if x.mean() > 0 else x


class Counted(Odd):
    def forward(self, x):
        return self.body(x) * torch.arange(int(x.max())).sum()


@pytest.mark.parametrize("kind, words", [
    (UnknownLeaf, r"layer 'strange' is a LPPool2d, which has no Paddle twin yet; add one with @leaf\('LPPool2d', .*\) "
                  r"from ppdet_ext\.graph\.ops \(in module 'strange', registry/test_torch_bridge\.py:\d+\)"),
    (UnknownOp, r"i0e is not in the table; add it with @op\('.*i0e'\) from ppdet_ext\.graph\.ops .*test_torch_bridge"),
    (DataDependent, r"data-dependent control flow.*test_torch_bridge\.py:\d+"),
    (Counted, r"data-dependent control flow.*test_torch_bridge\.py:\d+"),
])
def test_what_the_tracer_cannot_follow_is_said_in_one_line(kind, words):
    with pytest.raises(Unsupported, match=rf"Holder\.model cannot be traced: .*{words}") as caught:
        holder(keep(kind()), call_model)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=rf"{kind.__name__} cannot be traced: .*{words}"):
        registry.build(register(type(kind.__name__, (kind,), {})))


def test_a_user_adds_a_leaf_and_an_operation():
    class Swirl(tnn.Module):
        def __init__(self, channels):
            super().__init__()
            self.channels, self.scale = channels, tnn.Parameter(torch.rand(channels))

        def forward(self, x):
            return torch.special.i0e(x) * self.scale.view(1, -1, 1, 1)

    class PaddleSwirl(paddle.nn.Layer):
        def __init__(self, channels):
            super().__init__()
            self.scale = self.create_parameter([channels])

        def forward(self, x):
            return paddle.i0e(x) * self.scale.reshape([1, -1, 1, 1])

    class Net(tnn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.swirl = block(3, 4, 8), Swirl(4)

        def forward(self, x):
            return self.swirl(self.body(x))

    module = Net()
    with pytest.raises(UserError, match=r"add it with @op\('(.*i0e)'\)") as caught:
        holder(keep(module), call_model)
    name = str(caught.value).partition("@op('")[2].partition("'")[0]
    try:
        @op(name)
        def i0e(x):
            return paddle.i0e(x)

        check_parity(holder(keep(module), call_model), module)

        @leaf("Swirl", args=("channels",))
        def swirl(channels):
            return PaddleSwirl(channels)

        layer = holder(keep(module), call_model)
        assert isinstance(layer.model["swirl"], PaddleSwirl)
        check_parity(layer, module)
    finally:
        OPS.pop(name, None)
        LEAVES.pop("Swirl", None)


def test_torch_functions_on_paddle_tensors():
    def forward(self, x):
        return torch.cat([self.model(x)[0], self.model(x)[0]], 1)

    words = (r"Holder holds torch modules, and running it.*test_torch_bridge\.py:\d+ uses torch on Paddle tensors: use "
             r"paddle\.\* there, or derive Holder from torch\.nn\.Module")
    with pytest.raises(UserError, match=words) as caught:
        holder(keep(Chain()), forward)
    assert "\n" not in str(caught.value)


def build_shared(self):
    self.model = Chain()
    self.first = self.model.stages[0]


def build_mixed(self):
    self.model = [Chain(), "a name"]


def build_tensor(self):
    self.model, self.scale = Chain(), tnn.Parameter(torch.ones(1))


def build_hooked(self):
    self.model = Chain()
    self.model.stages[1][0].register_forward_hook(lambda module, given, output: output * 2)


@pytest.mark.parametrize("build, forward, words", [
    (build_hooked, call_model, r"Holder\.model\.stages\.1\.0 \(Conv2d\) has a forward hook"),
    (build_shared, lambda self, x: [self.first(x), *self.model(x)], r"Holder\.(first|model).* share parameters"),
    (build_mixed, lambda self, x: self.model[0](x), r"Holder\.model holds torch modules beside other things \(at 1\)"),
    (build_tensor, lambda self, x: self.model(x) * self.scale, r"Holder\.scale is a torch tensor; make it Paddle's"),
    (build_shared, lambda self, x: self.model(x, x), r"Holder\.model is called with \(Tensor, Tensor\)"),
    (build_shared, lambda self, x: self.model.modules(), r"forward uses Holder\.model\.modules"),
    (build_shared, lambda self, x: self.nothing(x), r"AttributeError.*nothing.*mend forward"),
    (build_shared, lambda self, x: self.model(x)[0].mean(), r"must give feature maps"),
])
def test_mistakes_are_named(build, forward, words):
    with pytest.raises(UserError, match=words) as caught:
        assert holder(build, forward).out_shape
    assert "\n" not in str(caught.value)


def test_a_class_of_one_size_is_met_at_it():
    class Fixed(tnn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.positions = tnn.Conv2d(3, 4, 8, 8), tnn.Parameter(torch.rand(1, 4, 48, 48))

        def forward(self, x):
            return self.patches(x) + self.positions

    layer = holder(keep(Fixed()), call_model)
    assert layer.out_shape == [ShapeSpec(4, stride=8)] and layer.dry_run_sizes[0] == 384


def test_errors_of_libraries_in_a_constructor():
    timm = pytest.importorskip("timm", reason="the error is timm's")

    def build(self):
        self.model = timm.create_model("resnte50")

    with pytest.raises(UserError, match=r"Holder cannot be made \(test_torch_bridge\.py:\d+\): .*Unknown model"):
        holder(build, call_model)
