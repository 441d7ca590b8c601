# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Readers whose parts do not go together: one line before anything is built."""
import pytest
from support import data_sets

from ppdet_ext.data import checks, reader_checks
from ppdet_ext.errors import UserError

DECODE = {"Decode": {}}


def reader(*transforms, **keys):
    return {"TrainReader": {"sample_transforms": [DECODE, *transforms], **keys}}


@pytest.mark.parametrize("cfg, words", [
    (reader(mosaic_epoch=5), "TrainReader.mosaic_epoch is 5, but Mosaic is not among TrainReader.sample_transforms"),
    (reader(mixup_epoch=0), "mixup_epoch is 0, but Mixup is not among"),
    (reader({"Mixup": {}}, cutmix_epoch=1, mixup_epoch=-1), "cutmix_epoch is 1, but Cutmix is not"),
    (reader({"Mosaic": {}}), "Mosaic would never act: TrainReader.mosaic_epoch says .* write mosaic_epoch: 10"),
    (reader({"Mixup": {}}), "Mixup would never act: TrainReader.mixup_epoch"),
    (reader({"Mixup": {}}, {"Mosaic": {}}, mixup_epoch=2, mosaic_epoch=4),
     "only one of mixup_epoch, mosaic_epoch can be set"),
    (reader({"Mosaic": {}}, mosaic_epoch=4, transform_schedulers=[{"Mosaic": {"stop_epoch": 2}}]),
     "transform_schedulers: the epochs of Mosaic are mosaic_epoch"),
    ({"TrainReader": {"sample_transforms": [{"Mosaic": {}}, DECODE], "mosaic_epoch": 4}}, "put it after Decode"),
    (reader(pre_img_epoch=3), "pre_img_epoch is CenterTrack's"),
    ({"EvalReader": {"sample_transforms": [DECODE, {"Mosaic": {}}], "mosaic_epoch": 1}},
     "EvalReader: Mosaic mixes pictures, which is for TrainReader alone"),
    ({"EvalReader": {"sample_transforms": [DECODE], "mixup_epoch": 0}}, "EvalReader: mixup_epoch mixes pictures"),
])
def test_parts_that_do_not_go_together(cfg, words):
    with pytest.raises(UserError, match=words) as caught:
        reader_checks.check(cfg, "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cfg", [
    reader(), {}, reader({"Mosaic": {}}, mosaic_epoch=0), reader({"Mosaic": {}}, mosaic_epoch=-1),
    reader({"Mixup": {}}, {"Mosaic": {}}, mixup_epoch=-1, mosaic_epoch=4), reader(mixup_epoch=-1),
])
def test_parts_that_do(cfg):
    reader_checks.check(cfg, "train")


def test_boxes_that_are_not_weighed_are_said(log):
    reader_checks.check(reader({"Cutmix": {}}, cutmix_epoch=3), "train")
    assert "Cutmix weighs its boxes by gt_score, which RT-DETR's loss does not read" in log.text


def test_the_tools_checks_look_at_readers(tmp_path):
    values = data_sets.coco_values(data_sets.write_coco(tmp_path / "set"))
    values["TrainReader"]["mosaic_epoch"] = 3
    cfg = data_sets.load(tmp_path, values)
    checks.check(cfg, "eval")
    with pytest.raises(UserError, match="Mosaic is not among"):
        checks.check(cfg, "train")


def test_several_folders_of_images(tmp_path):
    values = data_sets.coco_values(data_sets.write_coco(tmp_path / "set"))
    values["TrainDataset"]["image_dir"] = ["images", "more"]
    with pytest.raises(UserError, match="TrainDataset.image_dir is a list; it takes one folder"):
        checks.check(data_sets.load(tmp_path, values), "train")
