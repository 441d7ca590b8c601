# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The teacher's boxes on pictures without annotations: classes by name, records like the set's own."""
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ppdet_ext.errors import UserError
from ppdet_ext.swap import teacher_boxes
from ppdet_ext.swap.pictures import Pictures


def teacher_of(*names, count=None):
    net = SimpleNamespace(transformer=SimpleNamespace(num_classes=count or len(names)))
    return SimpleNamespace(classes=names, net=net, source="old.pdparams", normalization=None)


def set_of(tmp_path, *names):
    record = Pictures.record(7, "labelled.jpg", [0], [[0, 0, 5, 5]])
    del record["gt_score"]
    return SimpleNamespace(roidbs=[{**record, "w": 10, "h": 10}], cname2cid={name: n for n, name in enumerate(names)})


def picture(tmp_path, name):
    Image.new("RGB", (20, 10)).save(tmp_path / name)
    return str(tmp_path / name)


def test_classes_are_paired_by_map_by_name_and_by_number(tmp_path):
    own = set_of(tmp_path, "cat", "dog")
    assert teacher_boxes.pair(own, teacher_of("dog", "cow", "cat"), None) == {2: 0, 0: 1}
    assert teacher_boxes.pair(own, teacher_of("dog", "cow", "cat"), {"cat": "cow"}) == {1: 0}
    assert teacher_boxes.pair(own, teacher_of(count=2), None) == {0: 0, 1: 1}
    with pytest.raises(UserError, match="no class of the teacher .* class_map"):
        teacher_boxes.pair(own, teacher_of("bus"), None)


def test_pictures_join_with_their_boxes_and_without_any_stay_away(tmp_path):
    own, paths = set_of(tmp_path, "cat", "dog"), [picture(tmp_path, name) for name in ("a.png", "b.png", "c.png")]
    found = {paths[0]: [[2, 0.9, 1, 2, 3, 4], [1, 0.9, 0, 0, 9, 9]], paths[1]: [], paths[2]: [[0, 0.6, 5, 6, 7, 8]]}
    assert teacher_boxes.add(own, found, {2: 0, 0: 1}) == (2, 2)
    _, first, second = own.roidbs
    assert first["gt_bbox"].tolist() == [[1, 2, 3, 4]] and first["gt_class"].tolist() == [[0]]
    assert second["gt_class"].tolist() == [[1]] and [int(one["im_id"][0]) for one in own.roidbs] == [7, 8, 9]
    assert set(first) == set(own.roidbs[0]) and (first["w"], first["h"]) == (20, 10)
    assert first["gt_class"].dtype == np.int32


def test_what_a_teacher_does_not_tell_is_one_line(tmp_path):
    own = set_of(tmp_path, "cat")
    own.roidbs[0]["gt_poly"] = []
    with pytest.raises(UserError, match="gt_poly, which the teacher does not tell"):
        teacher_boxes.add(own, {picture(tmp_path, "a.png"): [[0, 0.9, 1, 2, 3, 4]]}, {0: 0})


def test_a_run_that_goes_on_takes_the_boxes_it_has(tmp_path, monkeypatch):
    image, calls = picture(tmp_path, "a.png"), []
    monkeypatch.setattr(teacher_boxes, "find", lambda old, paths, own, least: calls.append(least) or {
        image: [[0, 0.9, 1, 2, 3, 4]]})
    folder = tmp_path / "run"
    folder.mkdir()
    for least in (0.5, 0.5, 0.7):
        own = set_of(tmp_path, "cat")
        teacher_boxes.join(own, {}, {"unlabelled": str(tmp_path), "min_score": least}, teacher_of("cat"), folder)
        assert len(own.roidbs) == 2
    assert calls == [0.5, 0.7] and json.loads((folder / teacher_boxes.FILE).read_text())["min_score"] == 0.7
