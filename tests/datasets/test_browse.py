# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pictures as training sees them are drawn back in pixels: boxes lie where their objects are, whatever the reader."""
import cv2
import numpy as np
import pytest
from ppdet.core.workspace import create
from support import data_sets

from ppdet_ext.cli import browse_dataset
from ppdet_ext.datasets import browse
from ppdet_ext.deploy import media
from ppdet_ext.errors import UserError

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NORMALISE = {"NormalizeImage": {"mean": MEAN, "std": STD}}
LAST = [NORMALISE, {"NormalizeBox": {}}, {"BboxXYXY2XYWH": {}}, {"Permute": {}}]
FLIP, SIZED = {"RandomFlip": {"prob": 1.0}}, {"Resize": {"target_size": [48, 80], "keep_ratio": True, "interp": 1}}
RANDOM = {"BatchRandomResize": {"target_size": [48, 64, 96], "random_size": True, "random_interp": False,
                                "keep_ratio": False}}
# reader -> (its transforms of one picture, of a batch, the size of what it gives)
READERS = {
    "one size a batch": ([{"Decode": {}}, FLIP], [RANDOM, *LAST], None),
    "padded after the shares": ([{"Decode": {}}, SIZED, *LAST], [{"PadBatch": {"pad_to_stride": 64}}], (64, 64)),
    "corners in pixels": ([{"Decode": {}}, FLIP, SIZED, NORMALISE, {"Permute": {}}], [], (48, 64)),
    "lists of equal length": ([{"Decode": {}}, SIZED], [*LAST, {"PadGT": {}}], (48, 64)),  # padded with boxes
    "pixels": ([{"Decode": {}}], [{"Permute": {}}], (30, 40)),
}


def config(tmp_path, sample, batch, **more):
    """A config over three pictures, black with a white object in each box; the first picture has two."""
    def add(content):
        content["annotations"].append({"id": 1, "image_id": 0, "category_id": 1, "bbox": [24, 10, 11, 14], "area": 154,
                                       "iscrowd": 0})
    root = data_sets.write_coco(tmp_path / "set", add)
    for number in range(3):
        image = np.zeros((30, 40, 3), np.uint8)
        image[6:18, 5:15] = 255
        if not number:
            image[10:24, 24:35] = 255
        cv2.imwrite(str(root / "images" / f"{number}.jpg"), image, (cv2.IMWRITE_JPEG_QUALITY, 100))
    values = data_sets.coco_values(root, worker_num=0)
    values["TrainReader"] = {"sample_transforms": sample, "batch_transforms": batch, "batch_size": 2,
                             "collate_batch": False, **more}
    return data_sets.load(tmp_path, values)


def seen(count=3, normalised=(MEAN, STD), epoch=0):
    dataset = create("TrainDataset")()
    dataset.check_or_download_dataset()
    dataset.parse_dataset()
    dataset.set_epoch(epoch)
    return list(browse.read(create("TrainReader"), dataset, count, normalised))


@pytest.mark.parametrize("kind", READERS)
def test_boxes_lie_on_their_objects(kind, tmp_path):
    sample, batch, size = READERS[kind]
    more = {"collate_batch": True} if kind == "lists of equal length" else {}
    config(tmp_path, sample, batch, **more)
    normalised = (MEAN, STD) if any("NormalizeImage" in entry for entry in (*sample, *batch)) else ([0] * 3,
                                                                                                    [1 / 255] * 3)
    found = seen(normalised=normalised)
    assert [one.classes.tolist() for one in found] == [[0, 1], [1], [0]]
    for one in found:
        assert one.image.dtype == np.uint8 and one.image.shape[:2] == (size or one.image.shape[:2])
        white = cv2.connectedComponentsWithStats((one.image.min(2) > 127).astype(np.uint8))[2][1:, :4]
        white[:, 2:] += white[:, :2]
        np.testing.assert_allclose(sorted(one.boxes.tolist()), sorted(white.tolist()), atol=1.1)
        assert one.image.max() >= 250 and np.median(one.image) <= 127
    assert len(seen(2, normalised)) == 2


def test_mosaic_is_shown_in_its_epochs(tmp_path):
    config(tmp_path, [{"Decode": {}}, {"Mosaic": {"input_dim": [64, 64], "enable_mixup": False, "degrees": [0, 0],
                                                  "translate": [0, 0], "scale": [1, 1], "shear": [0, 0]}},
                      NORMALISE, {"Permute": {}}], [], mosaic_epoch=2, batch_size=1)
    mixed = seen()
    assert sum(len(one.boxes) for one in mixed) > 3
    for one in mixed:
        assert one.image.shape == (64, 64, 3)
        for x1, y1, x2, y2 in one.boxes.round().astype(int):
            assert one.image[y1:y2, x1:x2].mean() > 200
    assert {one.image.shape for one in seen(epoch=2)} == {(30, 40, 3)}


def test_a_grid_has_room_for_all_and_names():
    pictures = [browse.Seen(np.zeros((30, 60, 3), np.uint8), np.array([[10.0, 5, 40, 25]]), np.array([1]))] * 5
    grid = browse.grid(pictures, {1: "dog"})
    cell = browse.CELL + browse.GAP
    assert grid.shape == (2 * cell, 3 * cell, 3)
    assert (grid[cell:, 2 * cell:] == 255).all() and (grid[:browse.CELL // 2, :browse.CELL] != 255).any()
    scale = browse.CELL / 60
    assert grid[round(15 * scale), round(10 * scale)].any(), "the box's left side is drawn"


def test_a_reader_without_boxes_is_refused(tmp_path):
    config(tmp_path, [{"Decode": {}}, {"Permute": {}}], [], batch_size=1)
    dataset = create("TrainDataset")()
    dataset.check_or_download_dataset()
    dataset.parse_dataset()
    for record in dataset.roidbs:
        del record["gt_bbox"]
    with pytest.raises(UserError, match="gives no pictures with gt_bbox"):
        list(browse.read(create("TrainReader"), dataset, 1, (MEAN, STD)))


def test_the_command_draws_the_training_set(tmp_path, small_digits, capsys, log):
    picture = tmp_path / "grid.png"
    sets = [f"{section}.dataset_dir={small_digits}" for section in ("TrainDataset", "EvalDataset", "TestDataset")]
    browse_dataset.main(["-c", "rtdetr_cspresnet.yml", "-o", *sets, "augment=strong", "--count", "5",
                         "--output", str(picture)])
    assert "augment: strong: Mosaic 40%" in log.text
    assert "5 of 8 training pictures" in capsys.readouterr().out
    assert media.read_image(picture).shape == (2 * 326, 3 * 326, 3)
