# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``train --quick``: what it changes, what it writes, and which cause it names for a detector that cannot learn."""
import dataclasses
import json
import re

import numpy as np
import paddle
import pytest
from ppdet.core.workspace import create
from support import data_sets, other_heads
from support.paths import REPO
from support.registry_fixtures import clean_registry  # noqa: F401

from ppdet_ext import cli
from ppdet_ext.engine.hooks import Status
from ppdet_ext.quick import quick_causes, quick_run, quick_setup
from ppdet_ext.quick.quick_causes import Look
from ppdet_ext.quick.quick_setup import Recipe

SHORT = Recipe(images=3, steps=2, batch=2)
ARCH = "TimmBackbone.arch=mobilenetv3_small_050"


def config_of(path, *options):
    args = cli.config_parser("").parse_args(["-c", str(path), "-o", *options])
    return cli.load_cfg(args, "train")


# --- what is changed -------------------------------------------------------------------------------------------------

def names_of(reader):
    return [name for key in ("sample_transforms", "batch_transforms") for entry in reader[key] for name in entry]


def test_the_config_is_changed_and_each_change_is_said(tiny_config):
    cfg = config_of(tiny_config, "use_ema=true", "EvalReader.batch_size=64")
    recipe = Recipe(images=3, steps=9, batch=2, side=32)
    dataset, lines = quick_setup.take_images(cfg, recipe)
    lines += quick_setup.adjust(cfg, dataset, recipe)
    said = "\n".join(lines)
    assert names_of(cfg["TrainReader"]) == [
        "Decode", "Resize", "NormalizeImage", "NormalizeBox", "BboxXYXY2XYWH", "Permute"]
    assert cfg["eval_size"] == [32, 32] and cfg["TestReader"]["inputs_def"]["image_shape"] == [3, 32, 32]
    assert cfg["EvalReader"]["sample_transforms"][1]["Resize"]["target_size"] == [32, 32]
    assert not cfg["use_ema"] and cfg["epoch"] == 1 and cfg["LearningRate"]["base_lr"] == recipe.rate
    assert len(dataset.roidbs) == 3 and len(dataset) // 2 >= 9 and cfg["EvalReader"]["batch_size"] == 3
    assert all(set(record) <= {"im_file", "im_id", "h", "w"} for record in cfg["EvalDataset"].roidbs)
    for words in ("3 of 8 training images", "no augmentation (RandomFlip)", "32 x 32", "64 x 64", "base_lr 0.001",
                  "no average of weights", "9 steps of 2 images"):
        assert words in said


def test_a_whole_run_ends_at_a_tenth_of_the_rate(tiny_config):
    cfg = config_of(tiny_config)
    dataset, _ = quick_setup.take_images(cfg, Recipe())
    lines = quick_setup.adjust(cfg, dataset, Recipe())
    per_epoch = len(dataset) // cfg["TrainReader"]["batch_size"]
    assert "BatchNorm keeps its statistics in the last two fifths" in lines
    assert cfg["epoch"] * per_epoch == 300 and "300 steps of 4 images; no checkpoint is written" in lines
    rate = create("LearningRate")(per_epoch)
    rates = []
    for _ in range(300):
        rates.append(rate.get_lr())
        rate.step()
    assert rates[0] == pytest.approx(5e-6) and rates[20:240] == pytest.approx([5e-4] * 220)
    assert rates[240:] == pytest.approx([5e-5] * 60)


def test_detrs_ways_to_resize_become_one():
    reader = {"sample_transforms": [{"Decode": {}}, {"RandomSelect": {"transforms1": [], "transforms2": []}},
                                    {"Mosaic": {}}], "mosaic_epoch": 3, "batch_transforms": [{"PadBatch": {}}]}
    shown = {"sample_transforms": [{"Resize": {"target_size": [800, 1344], "keep_ratio": True}}]}
    cfg = {"TrainReader": reader, "EvalReader": shown, "TestReader": {}}
    assert quick_setup._augmentation_off(cfg) == ["no augmentation (Mosaic)"]
    quick_setup._one_size(cfg, Recipe(side=672))
    small = {"Resize": {"target_size": [384, 672], "keep_ratio": True, "interp": 1}}  # multiples of 32
    assert reader == {"sample_transforms": [{"Decode": {}}, small], "batch_transforms": [{"PadBatch": {}}]}


def test_a_preset_is_switched_off_and_named(tiny_config, log):
    parser = cli.config_parser("")
    parser.add_argument("--quick", type=int)
    args = parser.parse_args(["-c", str(tiny_config), "--quick", "9", "-o", "augment=strong"])
    cfg = cli.load_cfg(args, "train")
    assert "augment: strong: --quick switches it off" in log.text and "Mosaic 40%" not in log.text
    assert "Mosaic, RandomScaledCrop, Mixup, Cutmix" in quick_setup._augmentation_off(cfg)[0]
    assert cfg["TrainReader"]["sample_transforms"] == [{"Decode": {}}]
    assert not {"mixing", "transform_schedulers"} & set(cfg["TrainReader"])


def test_a_size_that_the_network_is_made_for_stays(tiny_config):
    cfg = config_of(tiny_config, "TimmBackbone.img_size=64")
    dataset, _ = quick_setup.take_images(cfg, Recipe(side=32))
    assert "64 x 64" in quick_setup.adjust(cfg, dataset, Recipe(side=32))[1] and cfg["eval_size"] == [64, 64]


def record(number, *boxes, side=100):
    return {"im_id": np.array([number]), "im_file": f"{number}.jpg", "w": side, "h": side,
            "gt_bbox": np.array(boxes, "float32").reshape(-1, 4), "gt_class": np.zeros((len(boxes), 1), "int32")}


class Records:
    """As much of a data set as is asked for."""

    def __init__(self, records):
        self.all = records

    def check_or_download_dataset(self):
        pass

    def parse_dataset(self):
        self.roidbs = self.all


@pytest.fixture
def taken(monkeypatch):
    """``taken(records, recipe)``: what is chosen of them, and the lines."""
    def take(records, recipe):
        monkeypatch.setattr(quick_setup, "create", lambda name: lambda: Records(records))
        dataset, lines = quick_setup.take_images({}, recipe)
        return [int(found["im_id"][0]) for found in dataset.roidbs], lines
    return take


def test_images_are_chosen_from_all_over_the_set_and_easy_ones_first(taken):
    whole, speck = (0, 0, 50, 50), (0, 0, 2, 2)
    assert taken([record(i, whole) for i in range(9)], Recipe(images=3))[0] == [0, 4, 8]
    mixed = [record(0, speck), record(1, whole), record(2, whole, speck), record(3, whole), record(4)]
    chosen, lines = taken(mixed, Recipe(images=3))
    assert chosen == [1, 3, 0] and any("1 images without boxes" in line for line in lines)
    assert taken([record(0, whole), record(1, *[whole] * 21), record(2, whole)], Recipe(images=2))[0] == [0, 2]


def test_fewer_images_than_wanted_and_none_at_all_are_one_line(taken):
    chosen, lines = taken([record(0, (0, 0, 50, 50)), record(1)], Recipe())
    assert chosen == [0] and any("only 1 images with boxes (of 16 wanted)" in line for line in lines)
    with pytest.raises(quick_setup.UserError, match="none of TrainDataset's 2 images has a box"):
        taken([record(0), record(1)], Recipe())


# --- causes: each is said of what has it, and of nothing else --------------------------------------------------------

def healthy(**others):
    random = np.random.RandomState(0)
    seen = Look(config_rate=1e-4, random=True, images=random.randn(2, 3, 8, 8).astype("float32"),
                boxes=np.array([[0.5, 0.5, 0.2, 0.2]]), classes=np.array([1.0]), num_classes=2,
                box_sides=np.array([[20.0, 20.0]]), readers_differ=0.0,
                features=[random.randn(2, 4, 2, 2).astype("float32")],
                learns={"backbone.a": True, "neck.a": True}, factors={"backbone.a": 1.0, "neck.a": 1.0},
                losses=[9.0] * 15 + [1.0] * 15)
    return dataclasses.replace(seen, **others)


CASES = {
    "same_features": dict(features=[np.repeat(np.random.rand(1, 4, 2, 2).astype("float32"), 2, axis=0)]),
    "not_finite": dict(broken="the output of backbone.conv1"),
    "rate_is_zero": dict(config_rate=0.0),
    "labels": dict(classes=np.array([2.0])),
    "frozen_at_random": dict(frozen=["backbone.a"], learns={"neck.a": True}, factors={"neck.a": 1.0}),
    "no_gradient": dict(learns={"backbone.a": False, "neck.a": True}),
    "part_without_gradient": dict(learns={"backbone.a": True, "neck.a": False}),
    "unused_parameters": dict(learns={"backbone.a": True, "backbone.b": False}, unused=["backbone.b"]),
    "frozen": dict(frozen=["backbone.b", "backbone.c"]),
    "dead_channels": dict(features=[np.random.rand(2, 4, 2, 2).astype("float32") * np.eye(4)[0][:, None, None]]),
    "boxes_outside": dict(boxes=np.array([[0.0, 0.0, 30.0, 5.0]])),
    "pixels": dict(images=np.random.rand(2, 3, 8, 8).astype("float32") * 255),
    "readers": dict(readers_differ=0.4),
    "statistics_lag": dict(ap=0.1, ap_by_batch=0.9),
    "tiny_boxes": dict(box_sides=np.array([[2.0, 9.0]])),
    "loss_rose": dict(losses=[1.0] * 15 + [9.0] * 15),
}


def test_every_cause_has_its_case():
    assert set(CASES) == {cause.__name__ for cause in (*quick_causes.FAULTS, *quick_causes.LIKELY)}
    assert quick_causes.faults(healthy()) == quick_causes.likely(healthy()) == []


@pytest.mark.parametrize("name", CASES)
def test_a_cause_is_said_of_what_has_it(name):
    seen = healthy(**CASES[name])
    cause = getattr(quick_causes, name)
    told = quick_causes.faults(seen) or quick_causes.likely(seen)
    assert told == [cause(seen)] and bool(quick_causes.faults(seen)) == (cause in quick_causes.FAULTS)


@pytest.mark.parametrize("changed, words", [
    (dict(factors={"backbone.a": 0.0, "neck.a": 1.0}), "factor on the learning rate is 0"),
    (dict(boxes=np.zeros((0, 4)), classes=np.zeros(0)), "no box reaches the loss"),
    (dict(images=np.random.RandomState(0).randn(2, 3, 8, 8).astype("float32") * 1e-3), "pixels hardly differ"),
])
def test_other_forms_of_a_cause(changed, words):
    seen = healthy(**changed)
    assert words in (quick_causes.faults(seen) or quick_causes.likely(seen))[0]


def test_a_lost_picture_is_said_before_the_numbers_that_it_breaks():
    """BatchNorm divides by the deviation of equal features: gradients are infinite."""
    words = quick_causes.faults(healthy(**CASES["same_features"], broken="the gradient of backbone.conv1"))
    assert "the same for every image" in words[0] and "the gradient of backbone.conv1" in words[1]


def test_features_of_one_image_say_nothing():
    """An evaluation's last batch may be one picture."""
    assert not quick_causes.faults(healthy(features=[np.ones((1, 4, 2, 2), "float32")]))


def test_a_frozen_backbone_with_weights_is_no_fault():
    frozen = CASES["frozen_at_random"]
    for known in (False, None):
        assert not quick_causes.faults(healthy(**{**frozen, "random": known}))


def test_batch_norms_keep_their_statistics_from_an_epoch_on():
    model = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 1), paddle.nn.BatchNorm2D(4))
    hook, status = quick_run.HoldStatistics(model, first=3), Status()
    for status.epoch, held in ((2, False), (3, True), (4, True)):
        model.train()  # as each epoch begins
        hook.before_step(status)
        assert model[1].training != held and model.training and model[0].training


# --- runs ------------------------------------------------------------------------------------------------------------

def test_a_short_run_writes_into_its_own_folder_and_fails_with_a_reason(tiny_config, tmp_path, tool, capsys):
    output = tmp_path / "output" / "tiny"
    output.mkdir(parents=True)
    (output / "best_model.pdparams").write_bytes(b"mine")
    (output / "quick").mkdir()
    (output / "quick" / "quick.png").write_bytes(b"of an earlier one")
    with pytest.raises(SystemExit) as left:
        tool("train").main(["-c", str(tiny_config), "--quick", "2", "-o", ARCH, "EvalReader.batch_size=4"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert left.value.code == 1
    assert re.fullmatch(r"quick: FAIL: the loss (fell|rose) from \S+ to \S+ in 2 steps, and AP on these 8 images is "
                        r"0\.\d\d \(.+ is wanted\): .+", last)
    assert (output / "best_model.pdparams").read_bytes() == b"mine"
    assert {path.name for path in output.iterdir()} == {"best_model.pdparams", "quick"}
    assert {path.name for path in (output / "quick").iterdir()} == {"quick.json", "quick.png", "images.json",
                                                                  "bbox.json", "train.log"}
    facts = json.loads((output / "quick" / "quick.json").read_text())
    assert not facts["passed"] and facts["line"] == last.removeprefix("quick: ") and facts["reasons"]


@pytest.mark.parametrize("ap, losses, passed", [
    (0.51, (9.0, 7.1), True), (0.5, (9.0, 1.0), False), (None, (9.0, 1.0), False), (0.9, (9.0, 7.3), False)])
def test_a_verdict_passes_on_ap_and_loss(ap, losses, passed):
    seen = healthy(losses=[losses[0]] * 10 + [losses[1]] * 10)
    good, line, reasons = quick_run.verdict_of(seen, ap, 3, Recipe(), lambda: None)
    assert good == passed and bool(reasons) != passed
    assert line.startswith(f"{'PASS' if passed else 'FAIL'}: the loss fell from 9.00 to ") and "these 3 images" in line


def test_without_a_cause_more_steps_are_advised():
    good, line, reasons = quick_run.verdict_of(healthy(), 0.4, 3, Recipe(), lambda: 0.45)
    assert not good and "AP on these 3 images is 0.40 (more than 0.5 is wanted): no cause was found" in line
    assert "--quick 600" in reasons[0]
    assert "with each batch's own statistics" in quick_run.verdict_of(healthy(), 0.4, 3, Recipe(), lambda: 0.8)[1]


BROKEN = """\
import paddle
from paddle import nn
from rt_detr_paddle import register


@register
class {name}(nn.Layer):
    def __init__(self):
        super().__init__()
        self.stages = nn.LayerList([nn.Conv2D(3, 8, stride, stride) for stride in (8, 16, 32)])

    def forward(self, image):
        features = [stage(image) for stage in self.stages]
        return [{how} for feature in features]
"""
HOWS = {"Cut": ("feature.detach()", "no gradient reaches the backbone: none of its 6 parameters"),
        "Constant": ("feature * 0 + 1", "all features of the backbone are the same for every image"),
        "Damaged": ("feature / feature.min().clip(0, 0)", "NaN or infinite numbers, first in the output of backbone")}


@pytest.mark.usefixtures("clean_registry")
@pytest.mark.parametrize("name", HOWS)
def test_a_broken_backbone_of_the_users_is_flagged_before_training(name, tiny_config, tmp_path, monkeypatch):
    how, words = HOWS[name]
    (tmp_path / f"{name}.py").write_text(BROKEN.format(name=f"Quick{name}", how=how))
    cli.import_file(tmp_path / f"{name}.py")
    with tiny_config.open("a") as file:
        file.write("normalization: {mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]}\n")
    monkeypatch.setattr(quick_run, "_train", lambda *args: pytest.fail("it was trained"))
    verdict = quick_run.run(config_of(tiny_config, f"DETR.backbone=Quick{name}"), SHORT)
    assert not verdict.passed and verdict.line.startswith(f"FAIL: {words}"), verdict.line


@pytest.mark.slow
def test_a_backbone_frozen_at_random_values_is_flagged(tiny_config):
    verdict = quick_run.run(config_of(tiny_config, ARCH, "TimmBackbone.freeze_at=3"), SHORT)
    assert verdict.line.startswith("FAIL: the backbone is frozen at random values")


def test_numbers_that_break_while_it_runs_are_said(tiny_config):
    verdict = quick_run.run(config_of(tiny_config, ARCH), dataclasses.replace(SHORT, rate=1e30, steps=3))
    assert verdict.line.startswith("FAIL: NaN or infinite numbers, first in step")


def test_it_resumes_nothing(tiny_config, tool):
    with pytest.raises(quick_setup.UserError, match="leave out -r"):
        tool("train").main(["-c", str(tiny_config), "--quick", "-r", "output/tiny/0"])


VOC = """\
_BASE_: [tiny.yml, {configs}/datasets/voc.yml]
num_classes: 2
TrainDataset: {{dataset_dir: {root}, anno_path: train.txt}}
EvalDataset: {{dataset_dir: {root}, anno_path: train.txt}}
TestDataset: {{dataset_dir: {root}}}
"""


def test_a_voc_set_is_judged_by_cocos_rules(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(quick_run, "_train", lambda trainer, seen: seen.losses.extend([2.0, 1.0]))
    root = data_sets.write_voc(tmp_path / "set", boxes=((5, 6, 15, 18), (20, 9, 38, 28)))
    (tmp_path / "own.yml").write_text(VOC.format(configs=REPO / "configs", root=root))
    verdict = quick_run.run(config_of(tmp_path / "own.yml", ARCH), SHORT)
    assert set(verdict.ap) >= {"AP", "AP50"} and verdict.loss


@pytest.mark.slow
@pytest.mark.parametrize("head", other_heads.HEADS)
def test_other_heads(head, tmp_path, small_digits):
    """Two steps: how far they come in a whole run is in docs/quick.md."""
    text = other_heads.config_text(head, REPO / "configs", small_digits, tmp_path)
    (tmp_path / "own.yml").write_text(text)
    verdict = quick_run.run(config_of(tmp_path / "own.yml"), SHORT)
    assert verdict.loss and "RandomFlip" in "".join(verdict.changes) and "Momentum" in "".join(verdict.changes)


@pytest.mark.exhaustive
def test_a_sound_detector_passes(tmp_path, monkeypatch):
    """A whole run, as it is: five minutes of a core."""
    monkeypatch.chdir(tmp_path)
    verdict = quick_run.run(config_of(REPO / "configs/rtdetr_cspresnet.yml", ARCH, "TimmBackbone.pretrained=false"))
    assert verdict.passed and verdict.ap["AP"] > 0.6, verdict.line
