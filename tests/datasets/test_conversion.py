# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A data set in another layout, and back: the same pictures, boxes, classes and splits; what is lost is said."""
import json
import os
import shutil

import pytest
from support import layout_cases
from support.layout_cases import BOXES, CASES

from ppdet_ext.datasets import conversion, layouts
from ppdet_ext.datasets.conversion import WRITERS
from ppdet_ext.errors import UserError

LAYOUTS = {"coco": "COCO", "voc": "VOC", "yolo": "YOLO"}


def meaning(folder):
    """({split: {picture's bytes: boxes}}, class names)."""
    found = layouts.read(folder)
    return {split: {picture.path.read_bytes(): [
        (box.class_id, *(round(value, 2) for value in (box.x1, box.y1, box.x2, box.y2))) for box in picture.boxes]
        for picture in pictures} for split, pictures in found.splits.items()}, found.names


@pytest.mark.parametrize("case", ["coco", "roboflow coco", "label studio", "images and xml", "lists", "yolo", "csv"])
@pytest.mark.parametrize("to", WRITERS)
def test_there_and_back(case, to, tmp_path):
    CASES[case][0](tmp_path / "in")
    before = meaning(tmp_path / "in")
    conversion.convert(tmp_path / "in", tmp_path / "there", to)
    assert layouts.read(tmp_path / "there").layout == LAYOUTS[to] and meaning(tmp_path / "there") == before
    conversion.convert(tmp_path / "there", tmp_path / "back", "coco")
    assert meaning(tmp_path / "back") == before and meaning(tmp_path / "in") == before


def test_what_a_layout_cannot_say_is_counted(tmp_path):
    layout_cases.pictures(tmp_path / "in", BOXES)
    layout_cases.coco(tmp_path / "in" / "all.json", BOXES)
    content = json.loads((tmp_path / "in" / "all.json").read_text())
    for box, change in zip(content["annotations"], [{"iscrowd": 1}, {"difficult": 1}, {"bbox": [30, 3, 20, 10]},
                                                    {"bbox": [0, 5, 0, 6]}]):
        box.update(change)
    (tmp_path / "in" / "all.json").write_text(json.dumps(content))
    lines = conversion.convert(tmp_path / "in", tmp_path / "yolo", "yolo")
    lost = [line for line in lines if line.startswith("not kept")]
    assert sorted(line[10:27] for line in lost) == ["1 boxes have no a", "1 boxes reach ove", "1 crowds (iscrowd",
                                                    "1 difficult objec"]
    assert sum(len(boxes) for boxes in meaning(tmp_path / "yolo")[0]["all"].values()) == 2
    lines = conversion.convert(tmp_path / "in", tmp_path / "voc", "voc")
    assert [line[:20] for line in lines if line.startswith("not kept")] == ["not kept: 1 crowds ("]
    assert [box.difficult for picture in layouts.read(tmp_path / "voc").splits["all"] for box in picture.boxes] == [
        True, False, False]
    conversion.convert(tmp_path / "in", tmp_path / "coco", "coco")
    boxes = [box for picture in layouts.read(tmp_path / "coco").splits["all"] for box in picture.boxes]
    assert [(box.crowd, box.difficult) for box in boxes[:2]] == [(True, False), (False, True)]


def test_links_copies_and_names_that_two_pictures_have(tmp_path):
    layout_cases.roboflow_yolo(tmp_path / "in")
    shutil.copy(tmp_path / "in" / "train" / "images" / "0.jpg", tmp_path / "in" / "valid" / "images" / "0.png")
    conversion.convert(tmp_path / "in", tmp_path / "linked", "voc")
    conversion.convert(tmp_path / "in", tmp_path / "copied", "voc", copies=True)
    source = tmp_path / "in" / "train" / "images" / "1.jpg"
    assert os.path.samefile(source, tmp_path / "linked" / "JPEGImages" / "1.jpg")
    assert not os.path.samefile(source, tmp_path / "copied" / "JPEGImages" / "1.jpg")
    assert sorted(os.listdir(tmp_path / "copied" / "JPEGImages")) == ["0.jpg", "0_2.png", "1.jpg", "2.jpg", "3.jpg"]
    assert {split: len(found) for split, found in layouts.read(tmp_path / "copied").splits.items()} == {
        "train": 3, "val": 2}


def test_the_new_folder_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    layout_cases.voc(tmp_path / "in")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(UserError, match="not empty"):
        conversion.convert(tmp_path / "in", tmp_path / "full", "yolo")
    with pytest.raises(UserError, match="lies in the data set"):
        conversion.convert(tmp_path / "in", tmp_path / "in" / "yolo", "yolo")
    real, calls = shutil.copyfile, []

    def fails(source, target):
        calls.append(source)
        if len(calls) == 3:
            raise OSError(28, os.strerror(28))
        real(source, target)
    monkeypatch.setattr(shutil, "copyfile", fails)
    with pytest.raises(UserError, match="No space left"):
        conversion.convert(tmp_path / "in", tmp_path / "out", "yolo", copies=True)
    assert sorted(os.listdir(tmp_path)) == ["full", "in"] and len(calls) == 3
    (tmp_path / "out").mkdir()  # empty
    conversion.convert(tmp_path / "in", tmp_path / "out", "yolo", copies=True)
    assert (tmp_path / "out" / "data.yaml").is_file()


def test_a_set_is_divided_where_asked(tmp_path):
    layout_cases.yolo_plain(tmp_path / "in")
    conversion.convert(tmp_path / "in", tmp_path / "out", "coco", divided=True)
    assert set(meaning(tmp_path / "out")[0]) == {"train", "val"}


def test_a_class_that_is_no_line(tmp_path):
    layout_cases.pictures(tmp_path / "in", [0])
    classes = [{"id": 0, "name": "cat"}, {"id": 1, "name": "a\nb"}, {"id": 2, "name": "dog"}]
    layout_cases.coco(tmp_path / "in" / "all.json", [0], categories=classes)
    for to in ("voc", "yolo"):
        with pytest.raises(UserError, match=r"a\\nb"):
            conversion.convert(tmp_path / "in", tmp_path / "out", to)
    conversion.convert(tmp_path / "in", tmp_path / "out", "coco")
