# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The guide's way: a user's own class under @register from rt_detr_paddle, in RT-DETR."""
import copy
import subprocess
import sys

import numpy as np
import paddle
import pytest
from paddle import nn
from ppdet.core.workspace import merge_config
from support.registry_fixtures import clean_registry  # noqa: F401

from ppdet_ext import cli, registry
from ppdet_ext.backbones import create_model
from ppdet_ext.errors import UserError
from ppdet_ext.registry.weights_wanted import libraries_fetch_nothing, without_pretrained
from rt_detr_paddle import ShapeSpec, register, serializable

pytestmark = pytest.mark.usefixtures("clean_registry")


def stem_and_stages(widths=(8, 16, 24)):
    """Layers to stride 8, 16, 32."""
    stem = nn.Sequential(nn.Conv2D(3, 4, 3, 4, 1), nn.BatchNorm2D(4), nn.ReLU())
    ins = (4,) + tuple(widths[:-1])
    return stem, [nn.Sequential(nn.Conv2D(i, o, 3, 2, 1), nn.BatchNorm2D(o), nn.ReLU()) for i, o in zip(ins, widths)]


def plain_class(forward=None):
    """A class as the guide lists it: no base, no super().__init__()."""
    class CSPResNet:
        """The guide's backbone.

        Args:
            pretrained (bool): whether to load weights
        """

        def __init__(self, pretrained=True, width=8):
            self.pretrained = pretrained
            self.stem, (self.stage1, self.stage2, self.stage3) = stem_and_stages((width, 16, 24))

        def forward(self, x):
            c3 = self.stage1(self.stem(x))
            c4 = self.stage2(c3)
            c5 = self.stage3(c4)
            return [c3, c4, c5]

    if forward:
        CSPResNet.forward = forward
    return CSPResNet


DETECTOR = {
    "name": "DETR",
    "neck": {"name": "HybridEncoder", "hidden_dim": 32, "use_encoder_idx": [2], "num_encoder_layers": 1,
             "encoder_layer": {"name": "TransformerLayer", "d_model": 32, "nhead": 4, "dim_feedforward": 32,
                               "dropout": 0.0, "activation": "gelu"}, "expansion": 0.5, "depth_mult": 1.0},
    "transformer": {"name": "RTDETRTransformer", "hidden_dim": 32, "num_queries": 20, "feat_strides": [8, 16, 32],
                    "num_levels": 3, "nhead": 4, "num_decoder_layers": 1, "dim_feedforward": 32, "num_denoising": 4},
    "detr_head": "DINOHead",
    "post_process": {"name": "DETRPostProcess", "num_top_queries": 10},
}


def batch(images):
    size = images.shape[2]
    return {
        "image": images, "im_shape": paddle.to_tensor([[size, size]] * len(images), "float32"),
        "scale_factor": paddle.ones([len(images), 2]),
        "gt_class": [paddle.to_tensor([[1]], "int32")] * len(images),
        "gt_bbox": [paddle.to_tensor([[0.5, 0.5, 0.3, 0.4]])] * len(images),
    }


def detector(backbone):
    merge_config({"use_focal_loss": True, "num_classes": 5, "hidden_dim": 32})
    return registry.build({**copy.deepcopy(DETECTOR), "backbone": backbone})


def check_trains_and_exports(model, tmp_path):
    """One step moves the backbone's parameters; the exported model gives what the layer gives."""
    backbone = model.backbone
    parameter = backbone.stem[0].weight
    before = parameter.numpy().copy()
    optimizer = paddle.optimizer.AdamW(1e-2, parameters=model.parameters())
    model.train()
    loss = model(batch(paddle.rand([2, 3, 64, 64])))["loss"]
    loss.backward()
    optimizer.step()
    assert np.isfinite(float(loss)) and np.abs(parameter.numpy() - before).max() > 1e-4
    check_exports(backbone, tmp_path)


def check_exports(backbone, tmp_path):
    """The exported model gives what the layer gives; it is exported first."""
    class Wrapper(nn.Layer):
        def __init__(self):
            super().__init__()
            self.backbone = backbone

        def forward(self, inputs):
            return self.backbone(inputs)

    wrapper = Wrapper()
    wrapper.eval()
    full = {} if paddle.__version__.startswith("2") else {"full_graph": True}
    spec = [{"image": paddle.static.InputSpec([None, 3, None, None], name="image")}]
    images = paddle.rand([2, 3, 96, 64])
    paddle.jit.save(paddle.jit.to_static(wrapper, input_spec=spec, **full), str(tmp_path / "model"))
    wanted = backbone({"image": images})
    exported = paddle.jit.load(str(tmp_path / "model"))(images)
    for given, feature in zip([exported] if len(wanted) == 1 else exported, wanted):
        np.testing.assert_allclose(given.numpy(), feature.numpy(), atol=1e-6)


def test_the_guides_plain_class_in_rtdetr(tmp_path, log):
    made = register(plain_class())
    assert "replaces ppdet.modeling.backbones.cspresnet.CSPResNet" in log.records[0].getMessage()
    assert issubclass(made, nn.Layer) and made.__name__ == "CSPResNet"
    model = detector({"name": "CSPResNet", "pretrained": False, "width": 12})
    assert model.backbone.out_shape == [ShapeSpec(12, stride=8), ShapeSpec(16, stride=16), ShapeSpec(24, stride=32)]
    assert "backbone.stage3.1._mean" in model.state_dict()
    check_trains_and_exports(model, tmp_path)


def test_the_guides_class_around_create_model():
    @register(replace=True)
    class CSPResNet:
        def __init__(self, pretrained=False):
            self.model = create_model("tf_efficientnet_lite0", pretrained=pretrained, features_only=True,
                                      out_indices=(2, 3, 4))

        def forward(self, x):
            return self.model(x)

    model = detector({"name": "CSPResNet"})
    assert [(spec.channels, spec.stride) for spec in model.backbone.out_shape] == [(40, 8), (112, 16), (320, 32)]
    model.eval()
    assert model(batch(paddle.rand([1, 3, 64, 64])))["bbox"].shape[1] == 6


def test_paddledetections_style_in_rtdetr():
    merge_config({"TimmBackbone": {"arch": "tf_efficientnet_lite0"}})
    model = detector("TimmBackbone")
    model.eval()
    assert model(batch(paddle.rand([1, 3, 64, 64])))["bbox"].shape[1] == 6


def test_register_without_replacing():
    with pytest.raises(UserError, match="'CSPResNet' is taken by ppdet"):
        register(replace=False)(plain_class())


def test_an_nn_layer_stays_itself_and_needs_no_out_shape(tmp_path):
    class Mine(nn.Layer):
        def __init__(self):
            super(Mine, self).__init__()  # noqa: UP008  PaddleDetection's way; must not recurse
            self.stem, stages = stem_and_stages()
            self.stages = nn.LayerList(stages)

        def forward(self, x):
            features = []
            x = self.stem(x)
            for stage in self.stages:
                x = stage(x)
                features.append(x)
            return tuple(features)

    assert register(Mine) is Mine
    check_trains_and_exports(detector("Mine"), tmp_path)


def test_a_plain_class_may_call_super():
    @register
    class Bare:
        def __init__(self):
            super().__init__()
            self.stem, (self.stage, *_) = stem_and_stages()

        def forward(self, x):
            return self.stage(self.stem(x))

    class Named:
        def __init__(self):
            super(Named, self).__init__()  # noqa: UP008
            self.bare = registry.build("Bare")

        def forward(self, x):
            return {"only": self.bare(x)}

    Named = register(Named)
    layer = registry.build("Named")
    assert len(layer.parameters()) == len(registry.build(Bare).parameters()) == 12
    assert layer.out_shape == [ShapeSpec(8, stride=8)]


def test_a_plain_class_keeps_its_own_bases_and_settings():
    class Mixin:
        factor = 3

        def scaled(self, x):
            return x * self.factor

    @register
    @serializable
    class Scaled(Mixin):
        def __init__(self, width, power=2):
            self.width, self.power = width, power
            self.conv = nn.Conv2D(3, width, 8, 8)

        def forward(self, x):
            return self.scaled(self.conv(x))

    assert list(registry.schema_of("Scaled").schema) == ["width", "power"]
    layer = registry.build({"name": "Scaled", "width": 5})
    assert (layer.out_shape, layer.power) == ([ShapeSpec(5, stride=8)], 2)


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: tuple(f), lambda f: dict(enumerate(f)), lambda f: f[0]],
                         ids=["list", "tuple", "dict", "tensor"])
def test_features_in_any_container(wrap):
    def forward(self, x):
        c3 = self.stage1(self.stem(x))
        return wrap([c3, self.stage2(c3)])

    register(plain_class(forward))
    backbone = registry.build("CSPResNet")
    features = backbone({"image": paddle.rand([1, 3, 64, 64])})
    assert isinstance(features, list)
    assert [f.shape[1] for f in features] == [spec.channels for spec in backbone.out_shape]


def reads_image_key(self, inputs):
    return [self.stage1(self.stem(inputs["image"]))]


def annotated(self, batch: dict):
    return [self.stage1(self.stem(next(iter(batch.values()))))]


def takes_tensor(self, inputs):
    return [self.stage1(self.stem(inputs))]


def reads_other_keys(self, inputs):
    return [self.stage1(self.stem(inputs["image"])) * inputs.get("scale", 1)]


def says_image(self, x):
    return [self.stage1(self.stem(x))] if "image" else None


def asks_a_network_that_takes_both(self, x):
    if not hasattr(self, "inner"):
        self.inner = registry.build({"name": "TimmBackbone", "arch": "resnet18"})
    return [self.inner(x)[0], self.stem(x)]


def swallows_errors(self, inputs):
    try:
        return [self.stage1(self.stem(inputs["image"]))]
    except Exception:
        return None


@pytest.mark.parametrize("forward, wants", [
    (reads_image_key, True), (reads_other_keys, True), (annotated, True), (swallows_errors, True),
    (takes_tensor, False), (says_image, False), (asks_a_network_that_takes_both, False),
])
def test_a_dry_run_finds_what_forward_takes(forward, wants):
    register(plain_class(forward))
    backbone = registry.build("CSPResNet")
    assert backbone({"image": paddle.rand([2, 3, 64, 64])})[0].shape[2:] == [8, 8]
    assert backbone.takes_batch is wants


@pytest.mark.parametrize("forward", [reads_image_key, takes_tensor])
def test_a_static_graph_may_be_the_first_to_ask(forward, tmp_path):
    cls = plain_class(forward)
    cls.out_shape = [ShapeSpec(8, stride=8)]
    register(cls)
    check_exports(registry.build("CSPResNet"), tmp_path)


@pytest.mark.parametrize("forward", [reads_image_key, annotated, takes_tensor])
def test_forward_gets_the_batch_or_the_image(forward):
    register(plain_class(forward))
    backbone = registry.build("CSPResNet")
    assert backbone.out_shape == [ShapeSpec(8, stride=8)]
    assert backbone({"image": paddle.rand([2, 3, 64, 64])})[0].shape[:] == [2, 8, 8, 8]


def test_subclass_of_a_ppdet_backbone_gets_the_batch():
    from ppdet.modeling.backbones.resnet import ResNet

    @register
    class Ours(ResNet):
        def forward(self, inputs):
            return super().forward(inputs)[1:]

    assert len(registry.build("Ours", depth=18)({"image": paddle.rand([1, 3, 64, 64])})) == 3


def test_dry_run_leaves_no_trace():
    register(plain_class())
    backbone = registry.build("CSPResNet")
    backbone.train()
    backbone.stage1.eval()
    flags = [part.training for part in backbone.sublayers(include_self=True)]
    state = {name: value.numpy().copy() for name, value in backbone.state_dict().items()}
    paddle.seed(3)
    wanted = paddle.rand([4]).numpy()
    paddle.seed(3)
    assert len(backbone.out_shape) == 3
    assert (paddle.rand([4]).numpy() == wanted).all()
    assert [part.training for part in backbone.sublayers(include_self=True)] == flags and True in flags
    for name, value in backbone.state_dict().items():
        assert (value.numpy() == state[name]).all(), name
    assert paddle.is_grad_enabled()


def test_out_shape_of_the_user_counts():
    @register
    class Mine(nn.Layer):
        def __init__(self):
            super().__init__()
            self.out_shape = [ShapeSpec(3, stride=4)]

        def forward(self, x):
            raise AssertionError("must not run")

    assert registry.build("Mine").out_shape == [ShapeSpec(3, stride=4)]


def test_dry_run_tries_larger_images():
    def forward(self, x):
        if x.shape[2] < 300:
            raise ValueError("too small")
        return [self.stage1(self.stem(x))]

    register(plain_class(forward))
    assert registry.build("CSPResNet").out_shape == [ShapeSpec(8, stride=8)]


@pytest.mark.parametrize("forward, message", [
    (lambda self, x: x.mean(), r"CSPResNet\.forward must give feature maps \[B, C, H, W\].*among them is a tensor"),
    (lambda self, x: ["c3"], r"among them is str"),
    (lambda self, x: None, r"among them is NoneType"),
    (lambda self, x: [], r"gives no feature maps"),
    (lambda self, x: [self.stem(x).mean([2, 3], keepdim=True)], r"do not grow with the image"),
    (lambda self, x: [self.stem(x)[:, :, 1:, 1:]], r"shape \[1, 4, 15, 15\] is no \[B, C, H, W\] of a whole stride"),
    (lambda self, x: [self.nothing(x)], r"running it on a blank image failed \(64x64: AttributeError.*nothing"),
])
def test_what_is_no_backbone_is_said(forward, message):
    register(plain_class(forward))
    with pytest.raises(UserError, match=message) as caught:
        registry.build("CSPResNet").out_shape  # noqa: B018
    assert "\n" not in str(caught.value)


def test_a_class_without_forward_is_registered_as_it_is():
    class MyLoss:
        def __call__(self, x):
            return x

    assert register(MyLoss) is MyLoss


GUIDE = """\
import timm
from rt_detr_paddle import register

@register
class CSPResNet:
    def __init__(self, pretrained=True):
        super().__init__()
        self.model = timm.create_model('cspresnet50', pretrained=pretrained, features_only=True)

    def forward(self, x):
        return self.model(x)
"""


@pytest.mark.torch
def test_the_guides_listing(tmp_path, monkeypatch):
    """Word for word but for the weights, which are a download; through a file, as --import takes it."""
    pytest.importorskip("timm", reason="the listing builds a timm network")
    path = tmp_path / "guide_listing.py"
    path.write_text(GUIDE)
    cli.import_file(path)
    backbone = detector({"name": "CSPResNet", "pretrained": False}).backbone
    assert [(spec.channels, spec.stride) for spec in backbone.out_shape] == [(256, 8), (512, 16), (1024, 32)]
    assert "model.stages_3.conv_transition.conv.weight" in backbone.state_dict()
    offline(monkeypatch, tmp_path)
    with pytest.raises(UserError, match=r"CSPResNet cannot be made \(guide_listing.py:8\).*pretrained=False.*"
                                        r"pretrained=True, pretrained_cfg_overlay=dict\(file='PATH'\)") as caught:
        registry.build("CSPResNet")
    assert "\n" not in str(caught.value)


def offline(monkeypatch, cache):
    """No hub, and an empty cache."""
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(cache))


WAYS = {
    "a parameter": ("pretrained=True", "'lcnet_035', pretrained=pretrained"),
    "keywords": ("**settings", "'lcnet_035', **{'pretrained': True, **settings}"),
    "in the code": ("width=1", "'lcnet_035', pretrained=True"),
    "a file": ("path='none.pth'", "'lcnet_035', pretrained=True, pretrained_cfg_overlay=dict(file=path)"),
    "timm's file": ("path='none.pth'", "'lcnet_035', checkpoint_path=path"),
}


@pytest.mark.torch
@pytest.mark.parametrize("base", ["", "(torch.nn.Module)"])
@pytest.mark.parametrize("way", WAYS)
def test_where_a_checkpoint_follows_nothing_is_fetched(tmp_path, monkeypatch, way, base):
    """Evaluation, inference, export: the machine need have neither a network nor the class's own weights."""
    pytest.importorskip("timm", reason="the class builds a timm network")
    parameters, call = WAYS[way]
    path = tmp_path / "guide_listing.py"
    path.write_text("import torch\n" + GUIDE.replace("CSPResNet:", f"CSPResNet{base}:").replace(
        "pretrained=True)", f"{parameters})").replace("'cspresnet50', pretrained=pretrained", call))
    cli.import_file(path)
    offline(monkeypatch, tmp_path)
    given = {"pretrained": True} if way == "a parameter" else {}
    with pytest.raises(UserError, match="CSPResNet cannot be made"):
        registry.build({"name": "CSPResNet", **given})
    with without_pretrained():
        backbone = registry.build({"name": "CSPResNet", **given})
    assert "model.conv_stem.weight" in backbone.state_dict()


@pytest.mark.torch
def test_the_hints_setting_works(tmp_path):
    timm = pytest.importorskip("timm")
    import torch
    torch.save(timm.create_model("lcnet_035").state_dict(), tmp_path / "mine.pth")
    made = timm.create_model("lcnet_035", features_only=True, pretrained=True,
                             pretrained_cfg_overlay=dict(file=str(tmp_path / "mine.pth")))
    assert torch.equal(made.conv_stem.weight, torch.load(tmp_path / "mine.pth")["conv_stem.weight"])


@pytest.mark.torch
def test_torchvision_fetches_nothing_either(monkeypatch):
    torchvision = pytest.importorskip("torchvision")
    import torch
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("a download"))
    load = torch.nn.Module.load_state_dict
    with libraries_fetch_nothing():
        net = torchvision.models.squeezenet1_1(weights="DEFAULT")
        net.load_state_dict(torch.hub.load_state_dict_from_url("https://example.org/a.pth")["model"])
    assert torch.nn.Module.load_state_dict is load
    with pytest.raises(RuntimeError, match="Missing key"):
        net.load_state_dict({})


def test_a_class_that_needs_its_weights_gets_them():
    """Such as for reading a number out of them: it is made as in training then."""
    made = []

    class Needs:
        def __init__(self, pretrained=True):
            made.append(pretrained)
            if not pretrained:
                raise KeyError("scale")
            self.conv = nn.Conv2D(3, 4, 3)

        def forward(self, x):
            return [self.conv(x)]
    register(Needs)
    with without_pretrained():
        registry.build("Needs")
    assert made == [False, True]


@pytest.mark.torch
def test_the_guides_listing_trains_and_exports(tmp_path, tiny_config, tool, monkeypatch):
    """With a smaller network, in our own tools, and run without torch in the end."""
    pytest.importorskip("timm", reason="the listing builds a timm network")
    path = tmp_path / "small_listing.py"
    path.write_text(GUIDE.replace("cspresnet50", "mobilenetv3_small_050"))
    config = tiny_config.read_text().replace("TimmBackbone: {arch: tf_efficientnet_lite0, pretrained: false}",
                                             "DETR: {backbone: CSPResNet}\nCSPResNet: {pretrained: false}\n"
                                             "normalization: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}")
    tiny_config.write_text(config)
    monkeypatch.chdir(tmp_path)
    common = ["-c", str(tiny_config), "--import", str(path)]
    tool("train").main([*common, "-o", "epoch=1"])
    weights = tmp_path / "output" / "tiny" / "model_final.pdparams"
    state = paddle.load(str(weights))
    assert "backbone.model.conv_stem.weight" in state
    offline(monkeypatch, tmp_path)  # the checkpoint has everything
    tool("export_model").main([*common, "-o", f"weights={weights}", "CSPResNet.pretrained=true"])
    code = ("import sys; sys.modules['torch'] = None\n"
            "import numpy as np; from ppdet_ext.deploy import Predictor\n"
            "print(len(Predictor('output_inference/tiny').predict([np.zeros((64, 64, 3), np.uint8)])[0]['boxes']))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split()[-1:] == ["20"], done.stderr[-2000:]
