# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Each parameter's fate under another backbone, on names and shapes; the settings; the report."""
import json

import pytest

from ppdet_ext.config import swap_keys
from ppdet_ext.errors import UserError
from ppdet_ext.report.run_page import TRAINING, Page, as_html
from ppdet_ext.report.swap_part import swap_part
from ppdet_ext.swap import swap_plan, swapping
from ppdet_ext.swap.swap_report import SwapReport

PROJECTION = {f"neck.input_proj.{level}.{rest}": shape for level in (0, 1) for rest, shape in {
    "0.weight": (8, 16 * (level + 1), 1, 1), "1.weight": (8,), "1.bias": (8,), "1._mean": (8,),
    "1._variance": (8,)}.items()}
REST = {
    "neck.encoder.0.layers.0.linear1.weight": (8, 32), "neck.encoder.0.layers.0.linear1.bias": (32,),
    "neck.encoder.0.layers.0.linear2.weight": (32, 8), "neck.encoder.0.layers.0.linear2.bias": (8,),
    "transformer.input_proj.0.conv.weight": (8, 8, 1, 1), "transformer.input_proj.1.conv.weight": (8, 8, 1, 1),
    "transformer.decoder.layers.0.norm1.weight": (8,), "transformer.decoder.layers.1.norm1.weight": (8,),
    "transformer.enc_score_head.weight": (8, 3), "transformer.enc_score_head.bias": (3,),
}
OLD = {"backbone.conv.weight": (4, 3, 3, 3), "backbone.conv._mean": (4,), **PROJECTION, **REST}
NEW = {"backbone.stem.weight": (4, 3, 3, 3), **PROJECTION, **REST}


def fates(new=NEW, old=OLD, **settings):
    return {row.name: row.what for row in swap_plan.plan(new, old, **settings)}


def without(shapes, *names):
    return {name: shape for name, shape in shapes.items() if name not in names}


def test_every_tensor_has_one_row_and_the_new_detectors_come_first():
    rows = swap_plan.plan(NEW, OLD)
    assert [row.name for row in rows] == [*NEW, "backbone.conv.weight", "backbone.conv._mean"]


# another backbone of the very channels: its features mean something else all the same
@pytest.mark.parametrize("name, what", [
    ("backbone.stem.weight", "made"), ("backbone.conv.weight", "dropped"), ("backbone.conv._mean", "dropped"),
    ("neck.input_proj.1.0.weight", "made"), ("neck.input_proj.0.1.weight", "kept"),
    ("neck.input_proj.0.1.bias", "kept"), ("neck.input_proj.0.1._mean", "made"),
    ("neck.input_proj.1.1._variance", "made"), ("transformer.input_proj.0.conv.weight", "kept"),
    ("transformer.decoder.layers.1.norm1.weight", "kept"), ("transformer.enc_score_head.bias", "kept")])
def test_under_another_backbone(name, what):
    assert fates()[name] == what


def test_the_same_backbone_keeps_everything():
    assert set(fates(new=OLD, same_backbone=True).values()) == {"kept"}


def test_depth_is_by_position():
    layer = "transformer.decoder.layers.1.norm1.weight"
    assert fates(old=without(OLD, layer))[layer] == "made"
    assert fates(new=without(NEW, layer))[layer] == "dropped"
    assert fates(new=without(NEW, layer))["transformer.decoder.layers.0.norm1.weight"] == "kept"


def test_a_layer_of_another_width_is_reset_whole():
    """linear2's bias fits, but was learnt beside weights that do not."""
    wide = {**NEW, "neck.encoder.0.layers.0.linear1.weight": (8, 64), "neck.encoder.0.layers.0.linear1.bias": (64,),
            "neck.encoder.0.layers.0.linear2.weight": (64, 8)}
    rows = {row.name: row for row in swap_plan.plan(wide, OLD)}
    found = [row for name, row in rows.items() if "linear" in name]
    assert [row.what for row in found] == ["reset"] * 4
    assert [row.detail for row in found] == ["8x32 -> 8x64", "32 -> 64", "32x8 -> 64x8", ""]
    assert rows["transformer.decoder.layers.0.norm1.weight"].what == "kept"


def test_what_depends_on_other_classes_is_reset():
    found = fates(anew=["transformer.enc_score_head.bias"])
    assert found["transformer.enc_score_head.bias"] == "reset"
    assert found["transformer.enc_score_head.weight"] == "kept"


@pytest.mark.parametrize("change, words", [
    ({"neck.input_proj.2.0.weight": (8, 9, 1, 1)}, "has 2 as levels of features, the new detector 3"),
    ({"transformer.input_proj.2.conv.weight": (8, 8, 3, 3)}, "has 2 as levels of the decoder, the new detector 3.*nu"),
    ({"neck.input_proj.0.0.weight": (12, 16, 1, 1)}, "has 8 as hidden_dim of the neck, the new detector 12.*set Hyb"),
    ({"transformer.enc_score_head.weight": (12, 3)}, "has 8 as hidden_dim of the transformer.* so that both have 8$")])
def test_what_makes_a_swap_impossible_is_one_line(change, words):
    swap_plan.require_alike(NEW, OLD, "old.pdparams")
    with pytest.raises(UserError, match=words) as error:
        swap_plan.require_alike({**NEW, **change}, OLD, "old.pdparams")
    assert "old.pdparams" in str(error.value) and "\n" not in str(error.value)


def test_a_file_without_a_detector():
    swap_plan.require_detector(OLD, "old.pdparams", OLD)
    for lacking in ("neck.input_proj.0.0.weight", "transformer.enc_score_head.bias"):
        with pytest.raises(UserError, match=f"'a.pth' holds no RT-DETR to keep: it has no {lacking} .it has conv1.w, "):
            swap_plan.require_detector(without(OLD, lacking), "a.pth", ["conv1.w", "fc.w"])


@pytest.mark.parametrize("old, words", [
    (NEW, ""), (OLD, "backbone.stem.weight is in the new backbone only"),
    ({**NEW, "backbone.more": (1,)}, "backbone.more is in the checkpoint only"),
    ({**NEW, "backbone.stem.weight": (8, 3, 3, 3)}, "backbone.stem.weight is 8x3x3x3 in the checkpoint and 4x3x3x3 in "
     "the new backbone")])
def test_how_backbones_differ(old, words):
    assert swap_plan.difference(NEW, old) == words


@pytest.mark.parametrize("own, theirs, pairs", [
    (["a", "b"], ["a", "b"], None), (["a", "b"], ["b", "a"], {"a": "a", "b": "b"}),
    (["a", "c"], ["b", "a"], {"a": "a"}), (["x"], ["a"], None), (None, ["a"], None), (["a"], None, None)])
def test_classes_are_paired_by_their_names(own, theirs, pairs):
    assert swap_plan.class_names_pair(own, theirs) == pairs


# ---------------------------------------------------------------- settings
def test_settings():
    assert swap_keys.settings({}) is swap_keys.settings({"swap_backbone": False}) is None
    found = swap_keys.settings({"swap_backbone": {"keep_backbone": False}, "pretrain_weights": "a"})
    assert found["keep_backbone"] is False and set(found) == set(swap_keys.SETTINGS)
    assert swap_keys.settings({"swap_backbone": True, "pretrain_weights": "a"})["keep_backbone"] is None


@pytest.mark.parametrize("given, words", [
    ({"keep_backbon": True}, "swap_backbone has no setting 'keep_backbon'; did you mean keep_backbone"),
    ({"keep_backbone": "yes"}, "swap_backbone.keep_backbone is 'yes', not true or false or null"),
    ({"from_config": 3}, "swap_backbone.from_config is 3, not text")])
def test_wrong_settings(given, words):
    with pytest.raises(UserError, match=words):
        swap_keys.check({"swap_backbone": given})


def test_a_swap_needs_a_checkpoint():
    with pytest.raises(UserError, match="write 'pretrain_weights: CHECKPOINT', or leave swap_backbone out"):
        swap_keys.settings({"swap_backbone": True})


# ---------------------------------------------------------------- report
def report(**settings):
    return SwapReport(**{**dict(rows=swap_plan.plan(NEW, OLD), source="out/old.pdparams", sha256="ab",
                                project="paddledet", old_backbone="resnet50", new_backbone="resnet18",
                                start="hub", backbone_kept=False, notes=("classes: all 3",)), **settings})


def test_the_report_puts_rows_alike_together():
    groups = {(one.part, one.what): one for one in report().groups()}
    assert groups["backbone", "dropped"].tensors == 2 and groups["neck.input_proj.0...1", "made"].tensors in (2, 4)
    assert groups["transformer.decoder.layers.0...1", "kept"].tensors == 2
    assert sum(one.tensors for one in report().groups()) == len(report().rows) == sum(report().counts.values())
    assert [one.part.split(".")[0] for one in report().groups()] == sorted(one.part.split(".")[0]
                                                                         for one in report().groups())
    text = str(report())
    assert "resnet50 -> resnet18 (starts from hub)" in text and "classes: all 3" in text
    assert "made: 7 (of the new detector, as it starts without the checkpoint)" in text
    assert report().line == "the detector of out/old.pdparams with backbone resnet18 (14 kept, 7 made, 2 dropped)"


def test_what_the_new_detector_has_can_be_called_aligned():
    found = report().aligned(["neck.input_proj.0.0.weight", "backbone.conv.weight"], "500 steps")
    assert found.names("aligned") == ["neck.input_proj.0.0.weight"]  # the other is gone
    assert found.counts == {"kept": 14, "made": 6, "aligned": 1, "dropped": 2}


def test_a_swap_goes_into_the_stamp_unless_the_backbone_stays():
    before = ({"file": "a", "sha256": "0", "old_backbone": "", "new_backbone": "resnet50"},)
    own = {"file": "old.pdparams", "sha256": "ab", "old_backbone": "resnet50", "new_backbone": "resnet18"}
    assert report(swaps=before).all_swaps == (*before, own)
    assert report(swaps=before, backbone_kept=True).all_swaps == before


def test_the_page_of_a_run_shows_it():
    data = json.loads(json.dumps(report(licence="MIT").as_dict()))
    page = as_html(Page("new", TRAINING, swap=swap_part(data)))
    assert "更换骨干网络" in page and "transformer.decoder.layers.0...1" in page and "保留" in page and "MIT" in page
    assert "更换骨干网络" not in as_html(Page("new", TRAINING))


def test_the_config_of_a_renamed_folder_is_the_only_one_there(tmp_path):
    weights = tmp_path / "run" / "best_model.pdparams"
    weights.parent.mkdir()
    own, other, facts = (weights.with_name(name) for name in ("run.yml", "former.yml", "best_model.yml"))
    facts.write_text("mean: [0, 0, 0]\nsha256: abc\n")  # of converted weights
    assert swapping.config_beside(weights) == own and not own.exists()
    other.write_text("architecture: DETR\n")
    assert swapping.config_beside(weights) == other
    weights.with_name("second.yml").write_text("architecture: DETR\n")
    assert swapping.config_beside(weights) == own
    own.write_text("architecture: DETR\n")
    assert swapping.config_beside(weights) == own
