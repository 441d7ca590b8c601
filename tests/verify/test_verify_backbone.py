# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Every fault that a backbone can have is found and named, on tiny networks; and a good one passes."""
import json
import re

import numpy as np
import paddle
import pytest
from paddle import nn
from ppdet.core.workspace import global_config
from ppdet.modeling.shape_spec import ShapeSpec
from support.small_detector import SMALL

from ppdet_ext import cli
from ppdet_ext.cli import verify as command
from ppdet_ext.registry import register
from ppdet_ext.verify import backbone_subject as subject
from ppdet_ext.verify import image_sizes, receptive_field, run_checks, weights_origin
from ppdet_ext.verify.findings import FAILED, OK, SKIPPED, Report
from ppdet_ext.weights import writers

SIZE = (64, 64)
SHAPES = [ShapeSpec(channels=8, stride=8), ShapeSpec(channels=16, stride=16), ShapeSpec(channels=24, stride=32)]
NAMED = "mobilenetv3_small_050"


class Net(nn.Layer):
    """Three convolutions, at strides 8, 16 and 32."""

    def __init__(self):
        super().__init__()
        self.c3, self.c4 = nn.Conv2D(3, 8, 8, 8), nn.Conv2D(8, 16, 3, 2, padding=1)
        self.c5 = nn.Conv2D(16, 24, 3, 2, padding=1)

    def features(self, image):
        c3 = nn.functional.relu(self.c3(image))
        c4 = nn.functional.gelu(self.c4(c3))
        return [c3, c4, nn.functional.gelu(self.c5(c4))]

    def forward(self, image):
        return self.features(image)


class CoarsestFirst(Net):
    def forward(self, image):
        return self.features(image)[::-1]


class CoarsestFirstAsWritten(CoarsestFirst):
    out_shape = SHAPES


class ChannelsLast(Net):
    def forward(self, image):
        return [feature.transpose([0, 2, 3, 1]) for feature in self.features(image)]


class ChannelsLastAsWritten(ChannelsLast):
    out_shape = SHAPES


class UnusedStage(Net):
    def __init__(self):
        super().__init__()
        self.c6 = nn.Sequential(nn.Conv2D(24, 24, 3), nn.Conv2D(24, 24, 3))


class FrozenNet(Net):
    def __init__(self):
        super().__init__()
        for parameter in self.parameters():
            parameter.stop_gradient = True


class WrongShape(Net):
    out_shape = [*SHAPES[:2], ShapeSpec(channels=32, stride=32)]


class NanWeight(Net):
    def __init__(self):
        super().__init__()
        weight = self.c4.weight.numpy()
        weight[3, 1, 0, 0] = np.nan
        self.c4.weight.set_value(weight)


class Loading(Net):
    """Loads all, as with a file of its own."""

    lacks = ""

    def __init__(self):
        super().__init__()
        random = np.random.RandomState(0)
        self.set_state_dict({name: random.randn(*value.shape).astype("float32") for name, value in
                             self.state_dict().items() if not self.lacks or self.lacks not in name})


class LayerLeftRandom(Loading):
    lacks = "c4.weight"


class DiesAfterwards(Net):
    def forward(self, image):
        c3, c4, c5 = self.features(image)
        return [c3, c4, c5 * 0]


class Raises(Net):
    out_shape = SHAPES

    def forward(self, image):
        raise ValueError("too many values")


class OneSize(Net):
    def forward(self, image):
        c3, c4, c5 = self.features(image)
        return [c3, c4, c5 + self.c5.bias.sum() * paddle.ones([1, 24, 2, 2])]


@pytest.fixture(autouse=True)
def small_neck(fresh_state):
    """RT-DETR's neck, but quick to make."""
    for name in ("hidden_dim", "HybridEncoder"):
        value = SMALL[name]
        global_config[name].update(value) if isinstance(value, dict) else global_config.update({name: value})


@pytest.fixture
def picture():
    return np.random.RandomState(0).randn(1, 3, *SIZE).astype("float32")


def checked(name, picture, settings=(), **more):
    """The report of a network by name, or of a class."""
    if not isinstance(name, str):
        name = register(name).__name__
    return run_checks.verify(subject.of_name(name, dict(settings), SIZE), picture, **more)[0]


def statuses(report, check):
    return {finding.status for finding in report.findings if finding.check == check}


@pytest.mark.parametrize("cls", [Net, Loading])
def test_a_good_backbone_passes(cls, picture):
    report = checked(cls, picture)
    assert report.passed, report.findings
    assert statuses(report, "weights") == {SKIPPED if cls is Net else OK}
    for check in ("features", "neck", "values", "finite numbers", "gradients", "export", "image sizes"):
        assert statuses(report, check) == {OK}, check
    assert [(row["stride"], row["channels"], row["fits"]) for row in report.stages] == [
        (8, 8, True), (16, 16, True), (32, 24, True)]
    assert [row["theoretical_field"] for row in report.stages] == [[8, 8], [24, 24], [56, 56]]  # 8, + 2 * 8, + 2 * 16
    assert all(0 < row["effective_field"] <= row["theoretical_field"][0] for row in report.stages)
    assert report.verdict().startswith(f"OK: {cls.__name__} at 64x64: ")


@pytest.mark.parametrize("cls, check, words", [
    (CoarsestFirst, "neck", "coarsest first (strides [32, 16, 8])"),
    (CoarsestFirstAsWritten, "features", "in the wrong order, at strides (channels) 32 (24), 16 (16), 8 (8)"),
    (ChannelsLast, "out_shape", "channels last"),
    (ChannelsLastAsWritten, "features", "channels last ([1, 4, 4, 16])"),
    (UnusedStage, "gradients", "4 of 10 trainable parameters are never used: no way leads from the features to c6"),
    (FrozenNet, "gradients", "all 6 parameters are frozen"),
    (WrongShape, "features", "out_shape says strides (channels) 8 (8), 16 (16), 32 (32), but forward gives 8 (8), 16"),
    (NanWeight, "finite numbers", "in the weights: c4.weight"),
    (NanWeight, "finite numbers", "in the features of stage 1, 2; they begin in c4"),
    (LayerLeftRandom, "weights", "1 of 6 are left random beside loaded ones: c4.weight"),
    (Raises, "features", "forward fails: ValueError: too many values"),
    (DiesAfterwards, "values", "stage 2: every channel has one value everywhere"),
    (DiesAfterwards, "gradients", "2 of 6 trainable parameters get a gradient that is zero everywhere: c5"),
])
def test_a_fault_is_found_and_named(cls, check, words, picture):
    report = checked(cls, picture)
    assert not report.passed
    assert [finding for finding in report.of(FAILED) if finding.check == check and words in finding.text], \
        report.findings
    assert report.verdict().startswith(f"FAILED: {cls.__name__} at 64x64: ") and check in report.verdict()


def test_what_may_be_random_is_allowed_by_name(picture):
    assert checked(LayerLeftRandom, picture, allow=["c4.*"]).passed


def test_a_network_for_one_size_is_warned_of(picture):
    report = checked(OneSize, picture)
    assert report.passed and statuses(report, "image sizes") == {"warning"}


# --- weights of a network by name ------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """{name: file} of random weights: good ones, of another tag, with NaN, and without a layer."""
    from ppdet_ext.backbones import create_model
    net = create_model(NAMED, features_only=True)
    cfg, state = net.pretrained_cfg, {name: value.numpy() for name, value in net.state_dict().items()}
    layer = next(name for name in state if re.fullmatch(r"blocks\.2\.0\.conv_pw\.weight", name))
    meta = {"arch": NAMED, "tag": cfg.tag, "mean": list(cfg.mean), "std": list(cfg.std), "license": "mit"}
    kinds = {"good": (state, meta), "tag": (state, {**meta, "tag": "another"}), "arch": (state, {**meta, "arch": "no"}),
             "nan": ({**state, layer: state[layer] * np.float32("nan")}, meta),
             "part": ({name: value for name, value in state.items() if name != layer}, meta)}
    folder, files = tmp_path_factory.mktemp("files"), {}
    for kind, (values, known) in kinds.items():
        files[kind] = str(folder / f"{kind}.pdparams")
        writers.write_with_metadata(values, known, files[kind])
    return {**files, "tag of the arch": cfg.tag, "layer": layer}


def weights_report(arch, settings):
    report = Report(arch, SIZE)
    weights_origin.check(subject.of_name(arch, settings, SIZE), report)
    return report


@pytest.mark.parametrize("kind, words", [("tag", "is of the tag another, not of"), ("arch", "is of no, not of"),
                                         ("nan", "holds NaN or infinite numbers"), ("part", "does not fit")])
def test_weights_that_are_not_those_asked_for(kind, words, weights):
    report = weights_report(f"{NAMED}.{weights['tag of the arch']}", {"pretrained": weights[kind]})
    assert [finding.check for finding in report.of(FAILED)] == ["weights"]
    assert words in report.findings[0].text


def test_good_weights_and_a_layer_that_is_allowed_to_lack(weights):
    assert weights_report(NAMED, {"pretrained": weights["good"]}).of(OK)
    report = weights_report(NAMED, {"pretrained": weights["part"], "allow": ["blocks.2.0.conv_pw.*"]})
    assert "are left random beside loaded ones: blocks.2.0.conv_pw" in report.of(FAILED)[0].text


@pytest.mark.parametrize("mean, status", [([0.485, 0.456, 0.406], OK), ([0.5, 0.5, 0.5], FAILED)])
def test_the_readers_normalisation_is_held_against_the_weights(mean, status, weights):
    entries = [{"Decode": {}}, {"NormalizeImage": {"mean": mean, "std": [0.229, 0.224, 0.225]}}]
    global_config["TimmBackbone"].update(arch=NAMED, pretrained=weights["good"])
    global_config.update(architecture="DETR", TrainReader={"sample_transforms": entries})
    global_config["DETR"].update(backbone="TimmBackbone")
    report = Report(NAMED, SIZE)
    weights_origin.check_normalisation(subject.of_config(global_config, SIZE), report)
    assert statuses(report, "normalisation") == {status}
    if status == FAILED:
        assert "TrainReader normalises with mean [0.5, 0.5, 0.5]" in report.findings[0].text


@pytest.mark.torch
def test_parity_names_the_first_module_that_differs(weights, picture):
    pytest.importorskip("timm")
    from ppdet_ext.verify import torch_parity

    report, what = Report(NAMED, SIZE), subject.of_name(NAMED, {"pretrained": weights["good"]}, SIZE)
    torch_parity.check(what, paddle.to_tensor(picture), report)
    weight = what.network.blocks[2][0].conv_pw.weight
    weight.set_value(weight * 1.1)
    torch_parity.check(what, paddle.to_tensor(picture), report)
    good, bad = report.findings
    assert (good.status, bad.status) == (OK, FAILED)
    assert re.search(r"model.blocks.2.0.conv_pw \(Conv2d, .*\): its weights are not those of the file", bad.text)


@pytest.mark.torch
def test_a_class_of_torch_modules_is_held_against_them(picture):
    torch = pytest.importorskip("torch")

    class TorchParts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.c3, self.c4 = torch.nn.Conv2d(3, 8, 8, 8), torch.nn.Conv2d(8, 16, 2, 2)
            self.c5, self.c6 = torch.nn.Conv2d(16, 24, 2, 2), torch.nn.Conv2d(24, 24, 2, 2)

        def forward(self, image):
            c3 = self.c3(image)
            c4 = self.c4(c3)
            return [c3, c4, self.c5(c4)]

    class PaddleAround:
        def __init__(self):
            self.stem = torch.nn.Conv2d(3, 8, 8, 8)
            self.stages = [torch.nn.Conv2d(8, 16, 2, 2), torch.nn.Sequential(torch.nn.Conv2d(16, 24, 2, 2))]

        def forward(self, image):
            c3 = self.stem(image)
            c4 = self.stages[0](c3)
            return [c3, c4, self.stages[1][0](c4)]

    report = checked(TorchParts, picture)
    assert statuses(report, "parity with torch") == {OK}
    assert "forward never uses c6" in report.of(FAILED)[0].text
    report = checked(PaddleAround, picture)
    assert report.passed, report.findings
    assert {row["name"] for row in report.parity} == {"stem[0]", "stages.0[0]", "stages.1.0[0]"}


@pytest.mark.torch
def test_a_layer_that_computes_something_else_is_named(picture):
    torch = pytest.importorskip("torch")
    from ppdet_ext.verify import torch_parity

    class TorchBlocks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.c3 = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 8, 8), torch.nn.BatchNorm2d(8))
            self.c4 = torch.nn.Sequential(torch.nn.Conv2d(8, 16, 2, 2), torch.nn.BatchNorm2d(16), torch.nn.ReLU())
            self.c5 = torch.nn.Conv2d(16, 24, 2, 2)

        def forward(self, image):
            c3 = self.c3(image)
            c4 = self.c4(c3)
            return [c3, c4, self.c5(c4)]

    what, report = subject.of_name(register(TorchBlocks).__name__, {}, SIZE), Report("TorchBlocks", SIZE)
    what.backbone.c4["1"]._epsilon = 0.5
    torch_parity.check(what, paddle.to_tensor(picture), report)
    assert re.search(r"c4.1 \(BatchNorm2d, .*\): with the same weights and input it computes something else",
                     report.of(FAILED)[0].text)


# --- the command -----------------------------------------------------------------------------------------------------

def test_receptive_field_of_a_gradient():
    energy = np.zeros((8, 10), np.float32)
    energy[2:5, :] = 0.001
    energy[3, 4:6] = 1.0
    field = receptive_field.measured(energy)
    assert field.theoretical == (3, 10) and not field.whole and field.effective == pytest.approx(2 ** 0.5)
    assert receptive_field.measured(energy * 0).theoretical == (0, 0)


def test_the_command_writes_picture_and_json_and_its_code_says_the_verdict(tmp_path, capsys):
    source = tmp_path / "nets.py"
    source.write_text("""\
from paddle import nn
from ppdet_ext.registry import register

class Good:
    def __init__(self):
        self.c3, self.c4, self.c5 = nn.Conv2D(3, 8, 8, 8), nn.Conv2D(8, 16, 2, 2), nn.Conv2D(16, 24, 2, 2)

    def forward(self, image):
        c3 = self.c3(image)
        c4 = self.c4(c3)
        return [c3, c4, self.c5(c4)]

register(type("VerifiedNet", (Good,), {}), replace=True)
register(type("TurnedNet", (Good,), {"forward": lambda self, image: Good.forward(self, image)[::-1]}), replace=True)
""")

    def ended(*words):
        with pytest.raises(SystemExit) as left:
            cli.run(lambda: command.main([*words, "--size", "64", "64", "--output_dir", str(tmp_path / "out")]))
        return left.value.code, capsys.readouterr()

    argv = ["--import", str(source), "--size", "64", "64", "--output_dir", str(tmp_path / "out")]
    command.main(["--arch", "VerifiedNet", *argv])
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("OK: VerifiedNet at 64x64: ") and "1x24x2x2" in out
    found = json.loads((tmp_path / "out" / "VerifiedNet.json").read_text())
    assert found["passed"] and [row["stride"] for row in found["stages"]] == [8, 16, 32]
    assert (tmp_path / "out" / "VerifiedNet.png").read_bytes().startswith(b"\x89PNG")
    code, told = ended("--arch", "TurnedNet", "--import", str(source))
    assert code == 1 and "coarsest first" in told.out.splitlines()[-1]
    code, told = ended("--arch", "resnet5")
    assert code == 2 and told.err.startswith("error: unknown arch 'resnet5'")


def test_reader_sizes_of_a_config():
    readers = {"TrainReader": {"batch_transforms": [{"BatchRandomResize": {"target_size": [64, 96]}}]},
               "EvalReader": {"sample_transforms": [{"Decode": {}}, {"Resize": {"target_size": [128, 64]}}]},
               "TestReader": {"sample_transforms": [{"Resize": {"target_size": 32}}]}}
    assert image_sizes.of_readers(readers) == [(32, 32), (64, 64), (96, 96), (128, 64)]


def test_a_size_that_the_readers_give_must_be_taken():
    global_config.update(architecture="DETR", TrainReader={"batch_transforms": [
        {"BatchRandomResize": {"target_size": [64, 96]}}]})
    global_config["DETR"].update(backbone=register(OneSize).__name__)
    report = Report("OneSize", SIZE)
    image_sizes.check(subject.of_config(global_config, SIZE), report)
    assert "96x96, which the readers give, is not taken" in report.of(FAILED)[0].text
