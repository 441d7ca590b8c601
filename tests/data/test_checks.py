# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Each mistake in a data set gets one line that names it; what is allowed is said or read as ppdet reads it."""
import json

import pytest
from ppdet.core.workspace import create
from support import data_sets

from ppdet_ext.data import checks
from ppdet_ext.errors import UserError


def failure(tmp_path, change=None, mode="train", top=None, prepare=None):
    """The message that ``check`` ends with."""
    root = data_sets.write_coco(tmp_path / "set", change)
    if prepare:
        prepare(root)
    cfg = data_sets.load(tmp_path, data_sets.coco_values(root, **(top or {})))
    with pytest.raises(UserError) as caught:
        checks.check(cfg, mode)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_good_sets_pass_silently(tmp_path, log):
    cfg = data_sets.load(tmp_path, data_sets.coco_values(data_sets.write_coco(tmp_path / "set")))
    for mode in ("train", "eval", "test"):
        checks.check(cfg, mode)
    assert not log.records


def annotation(**values):
    return lambda content: content["annotations"][1].update(values)


def drop(section, key):
    return lambda content: content[section][0].pop(key)


@pytest.mark.parametrize("change, words", [
    (annotation(bbox=[50, 5, 10, 10]), "1 annotations have a bbox wholly outside the image; first: annotation id 101 "
                                       "of '1.jpg' (40x30): [50, 5, 10, 10]"),
    (annotation(bbox=[5, -20, 10, 10]), "wholly outside"),
    (annotation(bbox=[5, 5, -3, 10]), "not [x, y, width, height] with positive sizes; first: annotation id 101"),
    (annotation(bbox=[5, 5, 3]), "not [x, y, width, height]"),
    (annotation(bbox=[5, 5, float("nan"), 3]), "not [x, y, width, height]"),
    (annotation(category_id=7), "annotation id 101 has the unknown category id 7 (known: 0, 1)"),
    (annotation(image_id=9), "image id 9, which is not among the images"),
    (drop("annotations", "area"), "annotations[0] has no area"),
    (drop("annotations", "iscrowd"), "annotations[0] has no iscrowd"),
    (drop("images", "file_name"), "images[0] has no file_name"),
    (annotation(bbox="5 5 3 3"), "bbox is '5 5 3 3', not a list"),
    (annotation(area=0), "1 annotations have a good bbox but no positive area, and would be left out (write "
                         "width*height as area); first: annotation id 101 of '1.jpg' (40x30): [5, 6, 10, 12]"),
    (annotation(area=float("nan")), "no positive area"),
    (annotation(id=[1]), "annotations[1]: id is [1], not a whole number"),
    (annotation(image_id="1"), "annotations[1]: image_id is '1', not a whole number"),
    (annotation(category_id=[0]), "annotations[1]: category_id is [0], not a whole number"),
    (annotation(iscrowd="no"), "iscrowd is 'no', not a number"),
    (lambda content: content["images"][2].update(id="a"), "images[2]: id is 'a', not a whole number"),
    (lambda content: content["categories"][1].update(id={}), "categories[1]: id is {}, not a whole number"),
    (lambda content: content["images"][2].update(id=0), "image id 0 is there twice"),
    (lambda content: content["annotations"].append({**content["annotations"][0], "image_id": 2}),
     "annotation id 100 is there twice (the second time for image id 2); give each annotation an id of its own"),
    (lambda content: content["images"][2].update(width=0), "'2.jpg' has the size 0x30"),
    (lambda content: content["categories"][1].update(id=0), "category id 0 is there twice"),
    (lambda content: content.pop("categories"), "not in COCO format: it has no list 'categories'"),
    (lambda content: content.pop("annotations"), "not in COCO format: it has no list 'annotations'"),
    (lambda content: content.update(annotations=[]), "has no annotations; there is nothing to learn from"),
    (lambda content: content["categories"].append({"id": 5, "name": "cat"}),
     "categories 0 (2 boxes) and 5 (0 boxes) are both called 'cat'; take out category 5, which no box has"),
    (lambda content: content["categories"][1].update(name="cat"),
     "categories 0 (2 boxes) and 1 (1 boxes) are both called 'cat'; give them different names, or make them one"),
    (lambda content: content["categories"].append({"id": 5, "name": "cow"}),
     "num_classes is 2, but TrainDataset has 3 classes (cat, dog, cow;"),
])
def test_wrong_annotations(tmp_path, change, words):
    assert words in failure(tmp_path, change)


@pytest.mark.parametrize("prepare, words", [
    (lambda root: (root / "annotations/train.json").unlink(), "annotations/train.json' is missing; put it there, or "
                                                              "set TrainDataset.dataset_dir"),
    (lambda root: (root / "annotations/train.json").write_text('{"images": ['), "is not JSON"),
    (lambda root: (root / "annotations/train.json").write_bytes(b'{"a": "\xff"}'), "is not JSON"),
    (lambda root: (root / "annotations/train.json").write_text("[1]"), "not in COCO format (a JSON list"),
    (lambda root: (root / "images/1.jpg").unlink(), "1 of 3 images are missing; first: '"),
    (lambda root: (root / "images/1.jpg").write_bytes(b"no image"), "images/1.jpg' is unreadable: broken, or not"),
])
def test_wrong_files(tmp_path, prepare, words):
    message = failure(tmp_path, prepare=prepare)
    assert words in message and str(tmp_path) in message


def test_num_classes_says_what_to_write(tmp_path):
    for mode in ("train", "eval", "test"):
        folder = tmp_path / mode
        folder.mkdir()
        assert "write 'num_classes: 2' in the config, or -o num_classes=2" in failure(
            folder, mode=mode, top={"num_classes": 80})


def test_classes_in_another_order_are_refused(tmp_path):
    """ppdet numbers the categories of each file in that file's order, so AP would be nonsense."""
    root = data_sets.write_coco(tmp_path / "set")
    content = json.loads((root / "annotations/train.json").read_text())
    content["categories"].reverse()
    (root / "annotations/val.json").write_text(json.dumps(content))
    values = data_sets.coco_values(root)
    values["EvalDataset"]["anno_path"] = "annotations/val.json"
    with pytest.raises(UserError, match="class 0 is 'cat' in TrainDataset .* but 'dog' in EvalDataset"):
        checks.check(data_sets.load(tmp_path, values), "train")


def test_sparse_ids_are_remapped_as_said(tmp_path, log):
    def renumber(content):
        for item in content["categories"]:
            item["id"] = {0: 1, 1: 90}[item["id"]]
        for item in content["annotations"]:
            item["category_id"] = {0: 1, 1: 90}[item["category_id"]]
    cfg = data_sets.load(tmp_path, data_sets.coco_values(data_sets.write_coco(tmp_path / "set", renumber)))
    log.set_level("INFO", "ppdet.engine")
    checks.check(cfg, "train", validate=False)
    assert "remapped to 0..1: 1 'cat' -> 0, 90 'dog' -> 1" in log.text
    dataset = create("TrainDataset")()
    dataset.parse_dataset()
    assert [int(record["gt_class"][0, 0]) for record in dataset.roidbs] == [0, 1, 0]


def test_boxes_over_the_border_are_warned_of_and_clipped(tmp_path, log):
    root = data_sets.write_coco(tmp_path / "set", annotation(bbox=[35, -2, 10, 12]))
    cfg = data_sets.load(tmp_path, data_sets.coco_values(root))
    checks.check(cfg, "train", validate=False)
    assert "1 annotations reach over the image's border and are clipped; first: annotation id 101" in log.text
    dataset = create("TrainDataset")()
    dataset.parse_dataset()
    assert dataset.roidbs[1]["gt_bbox"].tolist() == [[35, 0, 40, 10]]
    assert dataset.roidbs[0]["gt_bbox"].tolist() == [[5, 6, 15, 18]]


def test_boxes_without_area_are_left_out(tmp_path, log):
    """COCO's own train2017 has some, so they cannot be an error."""
    root = data_sets.write_coco(tmp_path / "set", annotation(bbox=[5, 5, 0, 12]))
    checks.check(data_sets.load(tmp_path, data_sets.coco_values(root)), "train", validate=False)
    assert "1 annotations have a bbox without area and are left out" in log.text


def test_another_size_than_annotated_is_warned_of(tmp_path, log):
    root = data_sets.write_coco(tmp_path / "set", lambda content: content["images"][0].update(width=400, height=300))
    checks.check(data_sets.load(tmp_path, data_sets.coco_values(root)), "train", validate=False)
    assert "1 of 3 images looked at have another size than annotated" in log.text


def test_evaluation_set_is_needed_only_where_it_is_used(tmp_path):
    values = data_sets.coco_values(data_sets.write_coco(tmp_path / "set"))
    values["EvalDataset"]["anno_path"] = "annotations/none.json"
    cfg = data_sets.load(tmp_path, values)
    checks.check(cfg, "train")
    for arguments in (("train", True), ("eval",)):
        with pytest.raises(UserError, match="EvalDataset: annotation file .* is missing"):
            checks.check(cfg, *arguments)
    del values["EvalDataset"]
    with pytest.raises(UserError, match="the config has no EvalDataset"):
        checks.check(data_sets.load(tmp_path, values), "eval")


def test_class_names_of_inference(tmp_path):
    values = data_sets.coco_values(data_sets.write_coco(tmp_path / "set"))
    values["TestDataset"] = {"name": "ImageFolder", "anno_path": str(tmp_path / "names.txt")}
    cfg = data_sets.load(tmp_path, values)
    with pytest.raises(UserError, match="TestDataset.anno_path: .*names.txt' is missing; it names the 2 classes"):
        checks.check(cfg, "test")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    checks.check(cfg, "test")
    (tmp_path / "names.txt").write_text("cat\ncat\n")
    with pytest.raises(UserError, match="line 2 of .* is a repetition"):
        checks.check(cfg, "test")
    cfg["num_classes"] = 80
    (tmp_path / "names.txt").unlink()
    checks.check(cfg, "test")  # ppdet knows COCO's 80 names by itself


def test_a_validation_set_with_fewer_classes_is_no_reason_for_fewer_in_the_detector(tmp_path):
    cfg = data_sets.load(tmp_path, data_sets.coco_values(data_sets.write_coco(tmp_path / "set")))
    content = data_sets.coco_content(["0.jpg"])
    content["categories"].pop()
    (tmp_path / "set/annotations/val.json").write_text(json.dumps(content))
    cfg["EvalDataset"]["anno_path"] = "annotations/val.json"
    with pytest.raises(UserError, match="num_classes is 2, but EvalDataset has 1 classes .* a list of the training's 2 "
                                        "classes is wanted here, all of them.*; if the detector itself has other"):
        checks.check(cfg, "train", validate=True)


def test_data_set_as_a_yaml_tag(tmp_path):
    """PaddleDetection's older style: the section is an object."""
    root = data_sets.write_coco(tmp_path / "set")
    path = tmp_path / "tagged.yml"
    path.write_text(f"metric: COCO\nnum_classes: 3\nTrainDataset:\n  !COCODataSet\n    dataset_dir: {root}\n"
                    "    image_dir: images\n    anno_path: annotations/train.json\n")
    cfg = data_sets.config_file.load(path)
    with pytest.raises(UserError, match="num_classes is 3, but TrainDataset has 2 classes"):
        checks.check(cfg, "train")
    cfg["num_classes"] = 2
    checks.check(cfg, "train")


def test_readable_images(tmp_path, log):
    data_sets.write_images(tmp_path, 2)
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "0.jpg").read_bytes()[:40])
    (tmp_path / "empty.jpg").touch()
    paths = [str(tmp_path / name) for name in ("0.jpg", "broken.jpg", "none.jpg", "1.jpg", "empty.jpg")]
    assert checks.readable_images(paths) == [paths[0], paths[3]]
    text = log.text
    for path, reason in ((paths[1], "broken"), (paths[2], "no such file"), (paths[4], "the file is empty")):
        assert f"Skipped '{path}': {reason}" in text
    with pytest.raises(UserError, match="none of 1 images can be read; first: .*broken.jpg"):
        checks.readable_images(paths[1:2])
