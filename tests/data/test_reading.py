# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An image that turns out to be unreadable in the middle of training is named, without a hang or a traceback."""
import cv2
import numpy as np
import pytest
from ppdet.core.workspace import create
from support import data_sets

from ppdet_ext.errors import UserError


def read_all(tmp_path, break_it, workers, **reader):
    """Go through the training reader over a set that was broken after the checks."""
    root = data_sets.write_coco(tmp_path / "set")
    values = data_sets.coco_values(root)
    values["TrainReader"].update(shuffle=False, **reader)
    data_sets.load(tmp_path, values)
    dataset = create("TrainDataset")()
    loader = create("TrainReader")
    dataset.parse_dataset()
    dataset.parse_dataset = lambda: None
    break_it(root)
    return list(loader(dataset, workers))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("content, words", [
    (b"no image at all", "images/1.jpg' is unreadable: broken, or not an image"),
    (b"", "images/1.jpg' is unreadable"),
    (None, "cannot open image '.*images/1.jpg' .No such file or directory"),
])
def test_unreadable_image_in_training(tmp_path, workers, content, words, capfd):
    def break_it(root):
        path = root / "images" / "1.jpg"
        path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_all(tmp_path, break_it, workers)
    assert "\n" not in str(caught.value)
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err


@pytest.mark.parametrize("workers", [0, 2])
def test_a_transform_whose_settings_do_not_fit_is_one_line(tmp_path, workers):
    transforms = [{"Decode": {}}, {"Resize": {"target_size": [0, 8], "keep_ratio": False}}]
    with pytest.raises(UserError, match=r"transform Resize failed on image '.*images/0.jpg': its settings do not fit"):
        read_all(tmp_path, lambda root: None, workers, sample_transforms=transforms)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_defect_in_a_users_transform_is_told_with_its_traceback(tmp_path, workers, monkeypatch):
    class Broken:
        def __call__(self, sample, context=None):
            return sample["nothing"]
    monkeypatch.setattr("ppdet.data.transform.Broken", Broken, raising=False)
    with pytest.raises(RuntimeError, match="(?s)while reading data: Traceback.*nothing"):
        read_all(tmp_path, lambda root: None, workers, sample_transforms=[{"Decode": {}}, {"Broken": {}}])


def test_pictures_of_different_sizes_in_one_batch_are_told(tmp_path):
    def another_size(root):
        cv2.imwrite(str(root / "images" / "1.jpg"), np.zeros((20, 25, 3), "uint8"))
    with pytest.raises(UserError, match="pictures of one batch have different sizes .*add a Resize"):
        read_all(tmp_path, another_size, 0, sample_transforms=[{"Decode": {}}], batch_size=3)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shared_memory", [False, True])
def test_images_without_objects(tmp_path, workers, shared_memory):
    """Paddle's shared memory refuses arrays without elements ('Tensor holds no memory')."""
    root = data_sets.write_coco(tmp_path / "set", lambda content: content["annotations"].pop(1))
    values = data_sets.coco_values(root)
    values["TrainDataset"]["allow_empty"] = True
    values["TrainReader"].update(shuffle=False, batch_size=3, collate_batch=False, use_shared_memory=shared_memory)
    data_sets.load(tmp_path, values)
    batch, = create("TrainReader")(create("TrainDataset")(), workers)
    assert sorted(tuple(boxes.shape) for boxes in batch["gt_bbox"]) == [(0, 4), (1, 4), (1, 4)]
    assert sorted(tuple(classes.shape) for classes in batch["gt_class"]) == [(0, 1), (1, 1), (1, 1)]
    assert {str(boxes.dtype) for boxes in batch["gt_bbox"]} == {"paddle.float32"}
    assert not [key for key in batch if key.startswith("ppdet_ext")]


def test_a_good_set_is_read(tmp_path):
    batches = read_all(tmp_path, lambda root: None, 0)
    assert [list(batch["image"].shape) for batch in batches] == [[1, 3, 32, 32]] * 3
