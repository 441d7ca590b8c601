# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Annotations changed in one place: one line that says so, or every box arrives; a box that does not is told of."""
import json
from xml.etree import ElementTree

import pytest
from hypothesis import strategies as st
from ppdet.core.workspace import create
from support import data_sets, mutations

from ppdet_ext.data import checks
from ppdet_ext.errors import UserError

CONTENT = data_sets.coco_content(["0.jpg", "1.jpg", "2.jpg"])
CONTENT["annotations"][1].update(track_id=3, segmentation=[[5, 6, 15, 6, 15, 18]])


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """Folder of a COCO set."""
    return data_sets.write_coco(tmp_path_factory.mktemp("fuzz") / "set")


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Folder of a VOC set."""
    return data_sets.write_voc(tmp_path_factory.mktemp("fuzz") / "set")


def outcome(cfg):
    """(message or None, boxes that training would see)."""
    try:
        checks.check(cfg, "train", validate=False)
    except UserError as error:
        message = str(error)
        assert mutations.is_one_line(message), message
        return message, []
    dataset = create("TrainDataset")()
    dataset.check_or_download_dataset()
    dataset.parse_dataset()
    return None, [box for record in dataset.roidbs for box in record["gt_bbox"].tolist()]


def check_coco(folder, tmp_path, text, count, log):
    (folder / "annotations" / "train.json").write_text(text)
    log.clear()
    message, boxes = outcome(data_sets.load(tmp_path, data_sets.coco_values(folder)))
    assert message is not None or len(boxes) == count or log.records, f"{count} boxes became {boxes} in silence"
    return message


def a_value_of_coco(coco, tmp_path, data, log):
    place = data.draw(st.sampled_from(sorted(mutations.places(CONTENT), key=str)), label="place")
    changed = mutations.put(CONTENT, place, data.draw(mutations.VALUES, label="value"))
    annotations = changed["annotations"]
    check_coco(coco, tmp_path, json.dumps(changed), len(annotations) if isinstance(annotations, list) else 0, log)


test_a_value_of_coco = mutations.cases(100, a_value_of_coco)
test_many_a_value_of_coco = mutations.many_cases(1000, a_value_of_coco)


def something_missing_in_coco(coco, tmp_path, data, log):
    place = data.draw(st.sampled_from(sorted(mutations.places(CONTENT), key=str)), label="place")
    changed = mutations.drop(CONTENT, place)
    message = check_coco(coco, tmp_path, json.dumps(changed), len(changed.get("annotations", ())), log)
    free = place[-1] in ("track_id", "segmentation") or (place[:1] == ("annotations",) and len(place) in (1, 2)) or \
        "segmentation" in place or (place[:2] == ("annotations", 1) and place[-1] in ("track_id",))
    assert message is not None or free, f"{place} may be missing"


test_something_missing_in_coco = mutations.cases(100, something_missing_in_coco)
test_many_something_missing_in_coco = mutations.many_cases(1000, something_missing_in_coco)


@pytest.mark.parametrize("text, words", [
    ("[1]", "a JSON list, not an object"), ("1e400", "a JSON float, not an object"), ("", "is not JSON"),
    ('{"images": 1e400}', "has no list 'categories'"), ("{" * 50, "is not JSON"), ("[" * 100_000, "nest too deep"),
    ('{"a":' * 100_000, "nest too deep"), ("9" * 5000, "is not JSON"), ("\x00", "is not JSON"),
])
def test_json_that_is_no_coco(coco, tmp_path, text, words, log):
    assert words in check_coco(coco, tmp_path, text, 0, log)


@pytest.mark.parametrize("change, words", [
    ({"bbox": [5, 5, float("inf"), 3]}, "not [x, y, width, height]"), ({"bbox": [5, 5, 10 ** 400, 3]}, "not [x, y"),
    ({"bbox": [5, 5, "3", 3]}, "not [x, y"), ({"bbox": [5, 5, True, 3]}, "not [x, y"), ({"bbox": None}, "not a list"),
    ({"area": 10 ** 400, "bbox": [1, 2, 3]}, "not [x, y"), ({"iscrowd": 2}, "iscrowd is 2, not a number: 0 or 1"),
    ({"iscrowd": float("nan")}, "iscrowd is nan"), ({"track_id": "x"}, "track_id is 'x', not a whole number"),
    ({"category_id": "0"}, "category_id is '0'"), ({"id": True}, "id is True, not a whole number"),
    ({"id": 10 ** 20}, "id is 100000000000000000000, not a whole number"),
])
def test_a_wrong_annotation(coco, tmp_path, change, words, log):
    content = mutations.put(CONTENT, ("annotations", 1), {**CONTENT["annotations"][1], **change})
    assert words in check_coco(coco, tmp_path, json.dumps(content), 3, log)


@pytest.mark.parametrize("change, words", [
    ({"width": float("nan")}, "has the size nanx30"), ({"width": float("inf")}, "has the size infx30"),
    ({"width": -1}, "has the size -1x30"), ({"file_name": 5}, "file_name is 5, not text"),
    ({"file_name": None}, "file_name is None, not text"), ({"file_name": "/etc/passwd"}, "outside the data set's"),
    ({"file_name": "../../../x.jpg"}, "outside the data set's folder"), ({"file_name": ""}, "images are missing"),
    ({"file_name": "\0.jpg"}, "images are missing"), ({"file_name": "a" * 5000}, "images are missing"),
])
def test_a_wrong_image(coco, tmp_path, change, words, log):
    content = mutations.put(CONTENT, ("images", 1), {**CONTENT["images"][1], **change})
    assert words in check_coco(coco, tmp_path, json.dumps(content), 3, log)


def check_voc(folder, tmp_path, root, count, log):
    path = folder / "xml" / "1.xml"
    kept = path.read_text()
    path.write_bytes(root if isinstance(root, bytes) else ElementTree.tostring(root))
    log.clear()
    values = data_sets.coco_values(folder)
    values["TrainDataset"] = {"name": "VOCDataSet", "dataset_dir": str(folder), "anno_path": "train.txt",
                              "label_list": "label_list.txt",
                              "data_fields": ["image", "gt_bbox", "gt_class", "difficult"]}
    try:
        message, boxes = outcome(data_sets.load(tmp_path, {**values, "metric": "VOC"}))
    finally:
        path.write_text(kept)
    assert message is not None or len(boxes) == count or log.records, f"{count} boxes became {boxes} in silence"
    return message


def picture():
    """A VOC annotation with what ppdet reads beside boxes."""
    return ElementTree.fromstring(
        "<annotation><id>1</id><size><width>40</width><height>30</height></size><object><name>dog</name><difficult>0"
        "</difficult><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>15</xmax><ymax>18</ymax></bndbox></object></annotation>")


def a_value_of_voc(voc, tmp_path, data, log):
    root = picture()
    nodes = list(root.iter())
    node = nodes[data.draw(st.integers(0, len(nodes) - 1), label="node")]
    text = data.draw(mutations.VALUES.map(str) | st.integers(-50, 50).map(str), label="text")
    node.text = "".join(letter for letter in text if letter.isprintable() or letter == "\n")
    check_voc(voc, tmp_path, root, 3, log)


test_a_value_of_voc = mutations.cases(100, a_value_of_voc)
test_many_a_value_of_voc = mutations.many_cases(1000, a_value_of_voc)


@pytest.mark.parametrize("number", range(1, 11))
def test_something_missing_in_voc(voc, tmp_path, number, log):
    root = picture()
    parents = {child: parent for parent in root.iter() for child in parent}
    node = list(root.iter())[number]
    parents[node].remove(node)
    count = 2 if node.tag == "object" else 3
    message = check_voc(voc, tmp_path, root, count, log)
    assert message is not None or node.tag in ("id", "difficult", "object"), f"<{node.tag}> may be missing"


@pytest.mark.parametrize("path, text, words", [
    ("size/width", "nan", "<size><width> of <annotation> is missing or not a number"),
    ("size/width", "1e400", "<size><width> of <annotation> is missing or not a number"),
    ("object/bndbox/xmin", "inf", "<bndbox><xmin> of <object> is missing or not a number"),
    ("object/difficult", "yes", "<difficult> of <object> is 'yes', not 0 or 1"), ("object/difficult", "", "not 0 or 1"),
    ("id", "one", "<id> of <annotation> is 'one', not a whole number from 0"), ("id", "-1", "<id> of <annotation>"),
    ("object/name", "d\nog", "unknown class 'd\\nog'"),
])
def test_a_wrong_value_of_voc(voc, tmp_path, path, text, words, log):
    root = picture()
    root.find(path).text = text
    assert words in check_voc(voc, tmp_path, root, 3, log)


def test_xml_that_expands_or_nests_without_end(voc, tmp_path, log):
    lists = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "x">{lists}]><a>&e11;</a>'.encode()
    assert "is not XML that can be read" in check_voc(voc, tmp_path, bomb, 3, log)
    assert check_voc(voc, tmp_path, b"<a>" * 100_000 + b"</a>" * 100_000, 3, log)


@pytest.mark.parametrize("line, words", [
    ("/etc/hosts xml/1.xml", "'/etc/hosts' is outside the data set's folder"),
    ("images/1.jpg ../../../x.xml", "x.xml' is outside the data set's folder"),
    (f"images/1.jpg {'a' * 5000}", "is missing"), ("\0 \0", "is missing"),
])
def test_a_wrong_line_of_a_voc_list(voc, tmp_path, line, words, log):
    listing = voc / "train.txt"
    kept = listing.read_text()
    listing.write_text(f"{kept}{line}\n")
    try:
        assert words in check_voc(voc, tmp_path, picture(), 3, log)
    finally:
        listing.write_text(kept)
