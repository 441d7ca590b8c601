# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A data set's folder to the sections of a config: which file is which."""
import json

import pytest

from ppdet_ext.data import data_folder
from ppdet_ext.errors import UserError


def write_coco(path, names, classes=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": [{"file_name": name} for name in names], "annotations": [],
                                "categories": [{"id": number, "name": str(number)} for number in range(classes)]}))


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.fixture
def coco(tmp_path):
    """COCO 2017's own names; both splits have a picture called 1.jpg."""
    for split in ("train", "val"):
        write_coco(tmp_path / "annotations" / f"instances_{split}2017.json", ["1.jpg", "2.jpg"], 3)
        write_coco(tmp_path / "annotations" / f"captions_{split}2017.json", ["1.jpg"])
        picture(tmp_path / f"{split}2017" / "1.jpg")
    return tmp_path


def test_coco(coco):
    found = data_folder.sections(coco)
    assert found["metric"] == "COCO" and found["num_classes"] == 3
    assert found["TrainDataset"]["anno_path"] == "annotations/instances_train2017.json"
    assert (found["TrainDataset"]["image_dir"], found["EvalDataset"]["image_dir"]) == ("train2017", "val2017")
    assert found["TestDataset"]["anno_path"] == found["EvalDataset"]["anno_path"]
    assert data_folder.count_pictures(found) == 2


def test_files_at_the_top_and_one_folder_of_pictures(tmp_path):
    write_coco(tmp_path / "train.json", ["a/1.jpg"])
    write_coco(tmp_path / "test.json", ["a/1.jpg"])
    picture(tmp_path / "images" / "a" / "1.jpg")
    found = data_folder.sections(tmp_path)
    assert found["EvalDataset"]["anno_path"] == "test.json" and found["TrainDataset"]["image_dir"] == "images"


def test_voc(tmp_path):
    texts = {"label_list": "\ufeffcat\ndog\n\n", "trainval": "a.jpg a.xml\n\n", "test": "b.jpg b.xml\n"}
    for name, lines in texts.items():
        (tmp_path / f"{name}.txt").write_text(lines, encoding="utf-8")
    found = data_folder.sections(tmp_path)
    assert (found["metric"], found["num_classes"]) == ("VOC", 2)
    assert found["TrainDataset"]["anno_path"] == "trainval.txt"
    assert found["EvalDataset"]["anno_path"] == "test.txt" and data_folder.count_pictures(found) == 1
    for name in ("train", "val"):  # all four lists of Pascal VOC: what is trained on is not evaluated on
        (tmp_path / f"{name}.txt").write_text("a.jpg a.xml\n")
    assert data_folder.sections(tmp_path) == found
    for name in ("trainval", "test"):
        (tmp_path / f"{name}.txt").unlink()
    found = data_folder.sections(tmp_path)
    assert [found[key]["anno_path"] for key in ("TrainDataset", "EvalDataset")] == ["train.txt", "val.txt"]


def test_what_cannot_be_told_apart_is_said(coco, tmp_path):
    write_coco(coco / "annotations" / "train_small.json", ["1.jpg"])
    with pytest.raises(UserError, match=r"instances_train2017.json, train_small.json could each be the train set"):
        data_folder.sections(coco)
    (coco / "annotations" / "train_small.json").unlink()
    (coco / "train2017" / "1.jpg").rename(coco / "train2017" / "elsewhere.jpg")
    (coco / "val2017" / "1.jpg").unlink()
    with pytest.raises(UserError, match="'1.jpg', lies neither"):
        data_folder.sections(coco)
    with pytest.raises(UserError, match="is no folder"):
        data_folder.sections(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "label_list.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "latin" / "train.txt").touch()
    (tmp_path / "latin" / "val.txt").touch()
    with pytest.raises(UserError, match="not UTF-8"):
        data_folder.sections(tmp_path / "latin")
    with pytest.raises(UserError, match=r"no file for .train.; a data set has annotations/train\*.json"):
        data_folder.sections(tmp_path / "empty")
