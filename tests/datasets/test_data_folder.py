# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""--data to the sections of a config: which file is which, splits that are made, what is written."""
import json
import shutil

import pytest
from support import layout_cases
from support.layout_cases import CASES, HEIGHT, NAMES, WIDTH

from ppdet_ext.data import coco, dataset_config
from ppdet_ext.datasets import data_folder, layouts, splits
from ppdet_ext.errors import UserError


def contents(made):
    """{section: {picture: [(class name, box)]}} as ppdet would read the sections, after this package's own check."""
    found = {}
    for section in ("TrainDataset", "EvalDataset"):
        source = dataset_config.read(made, section)
        coco.check(source)
        text = json.loads(source.anno_file.read_text())
        names = {record["id"]: record["name"] for record in text["categories"]}
        found[section] = {image["file_name"].rpartition("/")[2]: [
            (names[box["category_id"]], *box["bbox"]) for box in text["annotations"] if box["image_id"] == image["id"]]
            for image in text["images"]}
    return found


@pytest.mark.parametrize("case", [case for case, (_, layout, divided) in CASES.items() if divided and case != "lists"])
def test_a_divided_set(case, tmp_path):
    write, layout, _ = CASES[case]
    write(tmp_path / "set")
    before = sorted(path for path in (tmp_path / "set").rglob("*"))
    data = data_folder.read(tmp_path / "set", tmp_path / "out")
    made = data.sections
    assert made["metric"] == "COCO" and made["num_classes"] == 2 and len(data.lines) == 5
    found = contents(made)
    assert found["EvalDataset"] == {"3.jpg": [("dog", 4, 9, 8, 18)]}
    assert found["TrainDataset"]["1.jpg"] == [("dog", 0, 0, 20, 15), ("cat", 10, 3, 30, 27)]
    assert made["TestDataset"]["anno_path"] == made["EvalDataset"]["anno_path"]
    assert data.lines[0] == f"data: {layout}, in {tmp_path / 'set'}" and "train " in data.lines[1]
    assert data.lines[2] == "classes: 2 (cat, dog)" and data.lines[3].startswith("boxes: train 3, val 1")
    assert (tmp_path / "out").exists() == (case != "coco") == (" written, " in data.lines[4])
    assert sorted(path for path in (tmp_path / "set").rglob("*")) == before
    assert "data_fields" in made["TrainDataset"] and "data_fields" not in made["EvalDataset"]
    assert data_folder.count_pictures(made) == len(found["TrainDataset"])
    assert [path.name for path in data.evaluated] == ["3.jpg"]


def test_files_that_ppdet_reads_itself(tmp_path):
    layout_cases.coco_folders(tmp_path)
    shutil.copy(tmp_path / "val2017" / "3.jpg", tmp_path / "train2017")  # of that name in both
    made = data_folder.read(tmp_path, tmp_path / "out").sections
    assert made["TrainDataset"]["anno_path"] == "annotations/instances_train2017.json"
    assert (made["TrainDataset"]["image_dir"], made["EvalDataset"]["image_dir"]) == ("train2017", "val2017")
    layout_cases.voc_lists(tmp_path / "voc")
    made = data_folder.read(tmp_path / "voc", tmp_path / "out").sections
    assert (made["metric"], made["map_type"], made["num_classes"]) == ("VOC", "11point", 2)
    assert made["TrainDataset"] == {"name": "VOCDataSet", "dataset_dir": str(tmp_path / "voc"), "image_dir": "",
                                    "anno_path": "train.txt", "label_list": "label_list.txt",
                                    "data_fields": data_folder.VOC_FIELDS}
    assert made["TestDataset"]["anno_path"] == "label_list.txt" and data_folder.count_pictures(made) == 3
    assert not (tmp_path / "out").exists()


def test_voc_lists_of_other_splits(tmp_path):
    layout_cases.voc_lists(tmp_path)
    for name, old in (("trainval", "train"), ("test", "val")):  # all four of Pascal VOC
        shutil.copy(tmp_path / f"{old}.txt", tmp_path / f"{name}.txt")
    made = data_folder.read(tmp_path, tmp_path / "out").sections
    assert [made[key]["anno_path"] for key in ("TrainDataset", "EvalDataset")] == ["trainval.txt", "test.txt"]
    for name in ("trainval", "test", "val"):
        (tmp_path / f"{name}.txt").unlink()
    made = data_folder.read(tmp_path, tmp_path / "out").sections  # no list for val: a split is made, as COCO's JSON
    assert made["metric"] == "COCO" and (tmp_path / "out" / "val.json").is_file()
    (tmp_path / "label_list.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match="not UTF-8"):
        data_folder.read(tmp_path, tmp_path / "out")


def test_train_without_val_is_evaluated_on_test(tmp_path):
    layout_cases.coco_folders(tmp_path)
    (tmp_path / "annotations" / "instances_val2017.json").rename(tmp_path / "annotations" / "test.json")
    data = data_folder.read(tmp_path, tmp_path / "out")
    assert data.sections["EvalDataset"]["anno_path"] == "annotations/test.json" and "the test set" in data.lines[3]
    (tmp_path / "annotations" / "instances_train2017.json").unlink()
    shutil.rmtree(tmp_path / "train2017")
    (tmp_path / "annotations" / "test.json").rename(tmp_path / "annotations" / "val.json")
    with pytest.raises(UserError, match="only val is there"):
        data_folder.read(tmp_path, tmp_path / "out")
    made = data_folder.read(tmp_path, tmp_path / "out", trains=False).sections
    assert "TrainDataset" not in made and made["EvalDataset"]["anno_path"] == "annotations/val.json"


def test_hard_objects_count_neither_way_in_an_evaluation(tmp_path):
    layout_cases.voc(tmp_path / "set")
    path = tmp_path / "set" / "Annotations" / "3.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    data_folder.read(tmp_path / "set", tmp_path / "out")
    written = {split: json.loads((tmp_path / "out" / f"{split}.json").read_text())["annotations"]
               for split in ("train", "val")}
    assert [box["iscrowd"] for box in written["train"]] == [0, 0, 0] and written["train"][0]["difficult"] == 1
    assert [box["iscrowd"] for box in written["val"]] == [1]


def test_a_box_that_cannot_be_right_is_named_where_the_user_wrote_it(tmp_path):
    layout_cases.voc(tmp_path / "set")
    path = tmp_path / "set" / "Annotations" / "1.xml"
    path.write_text(path.read_text().replace("<xmin>0</xmin>", "<xmin>50</xmin>", 1))
    with pytest.raises(UserError, match=r"1.xml': object 1: the box \[50, 0, 20, 15\].*outside the 40x30 picture"):
        data_folder.read(tmp_path / "set", tmp_path / "out")
    assert not (tmp_path / "out" / "train.json").exists()


def many(folder, counts):
    """A set of one class a picture, given how many there are of each; pictures differ in their last bytes."""
    layout_cases.pictures(folder, [0])
    source, records, number = folder / "0.jpg", [], 0
    for kind, count in enumerate(counts):
        for _ in range(count):
            number += 1
            (folder / f"p{number}.jpg").write_bytes(source.read_bytes() + bytes([number]))
            records.append((number, kind))
    source.unlink()
    (folder / "all.json").write_text(json.dumps({
        "images": [{"id": n, "file_name": f"p{n}.jpg", "width": WIDTH, "height": HEIGHT} for n, _ in records],
        "annotations": [{"id": n, "image_id": n, "category_id": kind, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
                        for n, kind in records if kind is not None],
        "categories": [{"id": kind, "name": f"{NAMES[kind % 2]}{kind}"} for kind in range(len(counts))]}))
    return folder


def val_of(folder):
    """{class: the contents of its val pictures}."""
    found = splits.completed(layouts.read(folder))
    classes = {}
    for picture in found.splits["val"]:
        classes.setdefault(picture.boxes[0].class_id, set()).add(picture.path.read_bytes()[-1])
    assert not {id(one) for one in found.splits["val"]} & {id(one) for one in found.splits["train"]}
    return classes, sum(len(pictures) for pictures in found.splits.values())


def test_a_split_that_is_made_follows_the_contents_and_has_every_class(tmp_path):
    classes, count = val_of(many(tmp_path / "a", [20, 5, 2, 1]))
    assert {kind: len(found) for kind, found in classes.items()} == {0: 4, 1: 1, 2: 1} and count == 28
    content = json.loads((tmp_path / "a" / "all.json").read_text())
    for image in content["images"]:  # other names, another order: the same pictures
        new = f"q{40 - image['id']}.jpg"
        (tmp_path / "a" / image["file_name"]).rename(tmp_path / "a" / new)
        image["file_name"] = new
    content["images"].reverse()
    (tmp_path / "a" / "all.json").write_text(json.dumps(content))
    assert val_of(tmp_path / "a")[0] == classes


def test_equal_pictures_stay_on_one_side(tmp_path):
    folder = many(tmp_path / "a", [6])
    for number in range(2, 7):
        shutil.copy(folder / "p1.jpg", folder / f"p{number}.jpg")
    with pytest.raises(UserError, match="1 different picture"):
        splits.completed(layouts.read(folder))
    (folder / "p6.jpg").write_bytes((folder / "p1.jpg").read_bytes() + b"x")
    found = splits.completed(layouts.read(folder))
    assert sorted(len(pictures) for pictures in found.splits.values()) == [1, 5]
    assert "always the same" in found.splits_from


def test_the_same_set_is_written_once(tmp_path):
    layout_cases.yolo_plain(tmp_path / "set")
    made = data_folder.read(tmp_path / "set", tmp_path / "out").sections
    stat = (tmp_path / "out" / "train.json").stat()
    assert data_folder.read(tmp_path / "set", tmp_path / "out").sections == made
    again = (tmp_path / "out" / "train.json").stat()
    assert (again.st_ino, again.st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)
