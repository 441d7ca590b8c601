# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Every layout is read into the same pictures and boxes; what is wrong in one is said with its place."""
import os

import pytest
from support import layout_cases
from support.layout_cases import BOXES, CASES, SPLITS

from ppdet_ext.datasets import layouts
from ppdet_ext.datasets.picture_set import ALL, KINDS
from ppdet_ext.errors import UserError


def boxes_of(found):
    """{number of a picture: its boxes, rounded}, and {split: numbers}, with backgrounds only where there are some."""
    def number(picture):
        return int(picture.path.stem.rpartition("-")[2])
    boxes = {number(one): [(box.class_id, *(round(value, 2) for value in (box.x1, box.y1, box.x2, box.y2)))
                           for box in one.boxes] for pictures in found.splits.values() for one in pictures}
    return boxes, {split: [number(one) for one in pictures] for split, pictures in found.splits.items()}


@pytest.mark.parametrize("case", CASES)
def test_every_layout_means_the_same(case, tmp_path):
    write, layout, divided = CASES[case]
    write(tmp_path)
    found = layouts.read(tmp_path)
    boxes, splits = boxes_of(found)
    assert found.layout == layout and found.names == ("cat", "dog")
    backgrounds = {number for number, there in BOXES.items() if not there} & set(boxes)
    assert boxes == {number: there for number, there in BOXES.items() if there or number in backgrounds}
    wanted = SPLITS if divided else {ALL: [*BOXES]}
    assert {split: sorted(numbers) for split, numbers in splits.items()} == {
        split: [number for number in numbers if number in boxes] for split, numbers in wanted.items()}
    assert bool(found.splits_from) == divided
    assert all(picture.path.is_file() and picture.width == layout_cases.WIDTH for pictures in found.splits.values()
               for picture in pictures)
    assert backgrounds or case == "roboflow csv"
    problems = []
    assert boxes_of(layouts.read(tmp_path, problems)) == (boxes, splits) and not problems


def test_what_only_some_layouts_say(tmp_path):
    layout_cases.voc(tmp_path / "voc")
    hard, = layouts.read(tmp_path / "voc").splits["train"][0].boxes
    assert hard.difficult and "0.xml': object 1" in hard.where
    layout_cases.coco(tmp_path / "one" / "a.json", [1], iscrowd=1, ignore=1)
    layout_cases.pictures(tmp_path / "one", [1])
    found = layouts.read(tmp_path / "one" / "a.json")  # a file instead of its folder
    assert all(box.crowd for box in found.splits[ALL][0].boxes) and found.as_is[ALL].anno_path == "a.json"
    assert "2 boxes have ignore: 1" in found.notes[0]
    layout_cases.yolo(tmp_path / "yolo")
    (tmp_path / "yolo" / "labels" / "val" / "3.txt").write_text("1 0.1 0.2 0.5 0.2 0.5 0.6\n")
    found = layouts.read(tmp_path / "yolo" / "data.yaml")
    shape, = found.splits["val"][0].boxes
    assert (shape.x1, shape.y1, shape.x2, shape.y2) == pytest.approx((4, 6, 20, 18)) and "1 shapes" in found.notes[0]
    (tmp_path / "yolo" / "data.yaml").unlink()
    found = layouts.read(tmp_path / "yolo")
    assert found.names == ("LABEL_0", "LABEL_1") and set(found.splits) == {"train", "val"}


def test_pictures_that_a_training_wrote_are_not_the_data_sets(tmp_path):
    layout_cases.yolo_plain(tmp_path)
    layout_cases.pictures(tmp_path / "output" / "run", [0])
    layout_cases.pictures(tmp_path / "images" / "only_backgrounds", [2], "9{}.jpg")
    found = layouts.read(tmp_path)
    assert len(found.splits[ALL]) == 5 and "1 pictures lie beside" in found.notes[0]


def test_files_that_name_the_classes_otherwise_are_matched_by_name(tmp_path):
    layout_cases.coco_folders(tmp_path)
    turned = [{"id": 7, "name": "dog"}, {"id": 5, "name": "cat"}]
    layout_cases.coco(tmp_path / "annotations" / "instances_val2017.json", [3], categories=turned)
    found = layouts.read(tmp_path)
    assert boxes_of(found)[0][3] == BOXES[3] and not found.as_is and "matched by name" in found.notes[0]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# case -> [(file, what stands there, what is written in its place, kind of the problem, part of its message)]
MISTAKES = {
    "coco": [("annotations/instances_train2017.json", '"file_name": "1.jpg"', '"file_name": "../../1.jpg"', "stray",
              "outside the data set's folder"),
             ("annotations/instances_val2017.json", '"category_id": 1', '"category_id": 9', "class", "category id 9"),
             ("annotations/instances_val2017.json", '"bbox": [4, 9', '"bbox": ["4", 9', "box", "[x, y, width, height]"),
             ("annotations/instances_train2017.json", '"image_id": 1', '"image_id": 77', "id", "image id 77"),
             ("annotations/instances_train2017.json", '"id": 2, "file', '"id": 1, "file', "id", "there twice"),
             ("annotations/instances_val2017.json", '"file_name": "3.jpg', '"file_name": "4.jpg', "missing", "4.jpg")],
    "voc": [("Annotations/1.xml", "<xmax>20</xmax>", "<xmax>wide</xmax>", "box", "<xmax>"),
            ("Annotations/1.xml", "<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>', "file", "<!ENTITY>"),
            ("Annotations/1.xml", "</annotation>", "", "file", "not XML"),
            ("ImageSets/Main/val.txt", "3", "33", "missing", "no picture '33'")],
    "lists": [("val.txt", "xml/3.xml", "../xml/3.xml", "stray", "leads out"),
              ("val.txt", "xml/3.xml", "xml/4.xml", "missing", "4.xml"),
              ("xml/3.xml", "<name>dog", "<name>cow", "class", "'cow' is not in the list")],
    "yolo": [("labels/val/3.txt", "1 ", "2 ", "class", "class 2 is unknown"),
             ("labels/val/3.txt", "1 0.2", "1 4.2", "box", "shares of the picture"),
             ("labels/val/3.txt", "1 0.2", "1 0.2 nan", "box", "not 'class x y width height'"),
             ("data.yaml", "images/train", "/etc", "stray", "leads out")],
    "yolo lists": [("val.txt", "./all/3.jpg", "../../3.jpg", "stray", "leads out"),
                   ("val.txt", "./all/3.jpg", "./all/4.jpg", "missing", "4.jpg")],
    "csv": [("boxes.csv", "dog,4,9", "dog,,9", "box", "numbers of pixels"),
            ("boxes.csv", "3.jpg", "../3.jpg", "missing", "")],
}
ROWS = [(case, *row) for case, rows in MISTAKES.items() for row in rows]


@pytest.mark.parametrize("case,file,old,new,kind,message", ROWS, ids=[f"{row[0]}: {row[4]} {row[3]}" for row in ROWS])
def test_a_mistake_is_said_with_its_place_and_reading_goes_on(case, file, old, new, kind, message, tmp_path):
    CASES[case][0](tmp_path)
    edit(tmp_path / file, old, new)
    if kind == "missing" and not message:  # the only picture of its name is meant
        assert layouts.read(tmp_path).splits
        return
    with pytest.raises(UserError) as strict:
        layouts.read(tmp_path)
    problems = []
    layouts.read(tmp_path, problems)
    assert {problem.kind for problem in problems} == {kind} <= set(KINDS)
    assert message in problems[0].message and problems[0].message in str(strict.value)
    assert os.path.basename(file) in problems[0].where + problems[0].message


# text of data.yaml -> part of the message; nothing else could be read then
YAMLS = {"names: [cat, cat]\ntrain: images": "'cat' is empty or there twice", "train: images\nnames: 7": "no list of",
         "names: {0: a, 2: b}\ntrain: images": "numbers, from 0", "names: [a]\nnc: 3\ntrain: images": "nc is 3, but",
         "names: [a]\ntrain: none": "no 'none'", "names: [a]\ntrain: 3": "takes a folder",
         "names: [a]\npath: /\ntrain: etc": "leads out of the data set's folder"}


@pytest.mark.parametrize("text", YAMLS)
def test_a_yaml_that_says_nothing_good(text, tmp_path):
    layout_cases.yolo_plain(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=YAMLS[text]):
        layouts.read(tmp_path)


def test_what_is_no_data_set(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"no such folder or file"):
        layouts.read(tmp_path / "none")
    with pytest.raises(UserError, match=r"no data set is recognised here; one has label_list.txt.*annotations/train"):
        layouts.read(tmp_path)
    (tmp_path / "a.zip").touch()
    with pytest.raises(UserError, match=r"a file must be one of .json"):
        layouts.read(tmp_path / "a.zip")
    layout_cases.coco_folders(tmp_path / "two")
    layout_cases.coco(tmp_path / "two" / "annotations" / "train_small.json", [1])
    with pytest.raises(UserError, match=r"instances_train2017.json, annotations/train_small.json could each be"):
        layouts.read(tmp_path / "two")
    monkeypatch.setenv("PPDET_EXT_MAX_FILES", "3")
    with pytest.raises(UserError, match="more than 3 files.*PPDET_EXT_MAX_FILES"):
        layouts.read(tmp_path / "two")


def test_pipes_and_circles_of_links_are_passed_over(tmp_path):
    layout_cases.yolo(tmp_path)
    os.mkfifo(tmp_path / "more.json")
    (tmp_path / "images" / "again").symlink_to(tmp_path)
    assert {split: len(pictures) for split, pictures in layouts.read(tmp_path).splits.items()} == {"train": 3, "val": 1}


def test_two_layouts_in_one_folder_are_not_chosen_from_silently(tmp_path):
    layout_cases.coco_folders(tmp_path)
    layout_cases.csv(tmp_path)
    note, = layouts.read(tmp_path).notes
    assert "looks like CSV, too (boxes.csv)" in note
