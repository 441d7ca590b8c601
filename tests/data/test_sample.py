# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The sample data set: deterministic, disjoint splits, tight boxes, made once and in one stroke."""
import json
import shutil

import cv2
import numpy as np
import pytest

from ppdet_ext.data import digit_pictures, sample
from ppdet_ext.errors import UserError
from ppdet_ext.files import sha256

SMALL = digit_pictures.Spec(train=25, val=4, size=96)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample") / "dataset" / "digits"
    assert sample.make(root, SMALL)
    return root


def hashes(root):
    return {str(path.relative_to(root)): sha256(path) for path in sorted(root.rglob("*")) if path.is_file()}


def annotations(root, split):
    return json.loads((root / "annotations" / f"{split}.json").read_text())


def test_same_seed_same_files(made, tmp_path):
    sample.make(tmp_path / "again", SMALL)
    assert hashes(tmp_path / "again") == hashes(made)
    sample.make(tmp_path / "other", digit_pictures.Spec(train=25, val=4, size=96, seed=1))
    assert hashes(tmp_path / "other")["train/000000.jpg"] != hashes(made)["train/000000.jpg"]


def test_an_image_does_not_depend_on_the_number_of_images():
    left = digit_pictures.draw("train", 3, SMALL)
    right = digit_pictures.draw("train", 3, digit_pictures.Spec(train=400, val=80, size=96))
    assert np.array_equal(left[0], right[0]) and left[1] == right[1]


def test_splits_share_no_digit_and_no_photograph():
    photographs = [set(files) for _, files, _ in digit_pictures.SPLITS.values()]
    assert not photographs[0] & photographs[1]
    digits = [{image.tobytes() for images in digit_pictures._digits(split).values() for image in images}
              for split in ("train", "val")]
    assert len(digits[0]) > 1000 and len(digits[1]) > 300
    assert not digits[0] & digits[1]
    everything = [digit_pictures.photograph(*file) for files in photographs for file in files]
    assert len({image.tobytes() for image in everything}) == len(everything)


def test_coco_content(made):
    for split, count in (("train", 25), ("val", 4)):
        content = annotations(made, split)
        assert [category["name"] for category in content["categories"]] == list(sample.CLASSES)
        assert len(content["images"]) == count
        sizes = {image["id"]: image for image in content["images"]}
        for image in content["images"]:
            picture = cv2.imread(str(made / split / image["file_name"]))
            assert picture.shape[:2] == (image["height"], image["width"]) and max(picture.shape[:2]) == 96
        for item in content["annotations"]:
            x, y, w, h = item["bbox"]
            image = sizes[item["image_id"]]
            assert x >= 0 and y >= 0 and x + w <= image["width"] and y + h <= image["height"]
            assert item["area"] == w * h > 0 and item["iscrowd"] == 0
    used = {item["image_id"] for item in annotations(made, "train")["annotations"]}
    assert 0 < 25 - len(used) < 5, "a few training images are empty"
    assert len({item["image_id"] for item in annotations(made, "val")["annotations"]}) == 4


def test_boxes_are_tight_around_the_ink():
    digit = digit_pictures._digits("train")[5][0]
    for seed in range(5):
        ink = digit_pictures._ink(np.random.default_rng(seed), digit, 60) > 0.5
        assert ink[0].any() and ink[-1].any() and ink[:, 0].any() and ink[:, -1].any()
        assert 35 < ink.shape[0] < 75


def test_boxes_overlap_little():
    for number in range(20):
        boxes = [box for _, box in digit_pictures.draw("val", number, digit_pictures.Spec(size=96))[1]]
        for place, box in enumerate(boxes):
            assert digit_pictures._shared(box, boxes[:place]) <= 0.2


def test_contrast():
    rng = np.random.default_rng(0)
    for grey in (0, 60, 128, 200, 255):
        colours = np.array([digit_pictures._colour(rng, np.full((4, 4, 3), grey, "float32"), 90) for _ in range(50)])
        assert np.abs(colours @ [0.299, 0.587, 0.114] - grey).min() > 55  # a tint may be cut at 0 or 255


def test_made_only_once(made):
    before = hashes(made)
    (made / sample.META).touch()
    assert not sample.make(made, SMALL)
    assert hashes(made) == before


@pytest.mark.parametrize("break_it", [
    lambda root: (root / "train" / "000003.jpg").unlink(),
    lambda root: (root / "annotations" / "val.json").unlink(),
    lambda root: (root / "meta.json").write_text(json.dumps({"version": 0, "spec": json.loads(
        (root / "meta.json").read_text())["spec"]})),
    shutil.rmtree,
])
def test_ensure_mends_with_the_same_parameters(made, tmp_path, break_it, monkeypatch):
    root = tmp_path / "dataset" / "digits"
    shutil.copytree(made, root)
    cfg = {"TrainDataset": {"name": "COCODataSet", "dataset_dir": str(root)}}
    assert not sample.ensure(cfg)
    gone = break_it is shutil.rmtree
    break_it(root)
    if gone:
        monkeypatch.setattr(sample, "Spec", lambda: SMALL)  # the default set would take seconds
    assert sample.ensure(cfg)
    assert hashes(root) == hashes(made)
    assert not list(root.parent.glob(".*")), "temporary folders are removed"


def test_ensure_leaves_other_data_sets_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not sample.ensure({"TrainDataset": {"name": "COCODataSet", "dataset_dir": "dataset/coco"}})
    assert not sample.ensure({})
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not a sample data set"):
        sample.make(tmp_path / "digits", SMALL)
    assert (tmp_path / "digits" / "thesis.txt").read_text() == "mine"


def test_a_failure_leaves_the_old_set(made, tmp_path, monkeypatch):
    root = tmp_path / "digits"
    shutil.copytree(made, root)

    def fail(split, number, spec):
        raise UserError("no")
    monkeypatch.setattr(sample, "draw", fail)
    with pytest.raises(UserError):
        sample.make(root, SMALL, force=True)
    assert hashes(root) == hashes(made)
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


@pytest.mark.parametrize("spec, words", [
    (digit_pictures.Spec(difficulty="esy"), "did you mean easy"),
    (digit_pictures.Spec(digit=(0.5, 0.2)), "digit size range"),
    (digit_pictures.Spec(train=0), "train >= 1"),
])
def test_impossible_parameters(tmp_path, spec, words):
    with pytest.raises(UserError, match=words):
        sample.make(tmp_path / "digits", spec)
    assert not (tmp_path / "digits").exists()


def test_preview(made):
    grid = sample.preview(made, rows=2, columns=3, cell=80)
    assert grid.shape == (160, 240, 3) and (grid == (0, 255, 0)).all(-1).any(), "boxes are drawn"
