# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""--classwise: every AP beside its own class, and every curve in a file of its own inside its folder."""
import json
import re
import types
from pathlib import Path

import numpy as np
import pytest

from ppdet_ext.engine import class_table, evaluate, metrics, training_report

#: what is found of two boxes of each class: all, half, none
FOUND = {1: 2, 2: 1, 3: 0}
AP = {1: "1.000", 2: "0.505", 3: "0.000"}  # pycocotools' 101 recall points: 51 of them up to a half


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """A function: {category id: name} in the file's order -> the metric, evaluated, in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(class_table, "draw_pr_curve", draw)

    def evaluate_names(names, **settings):
        boxes = [(image, category, [40 * category, 5, 20, 20]) for category in names for image in (1, 2)]
        content = {"images": [{"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 40} for i in (1, 2)],
                   "annotations": [{"id": n, "image_id": image, "category_id": category, "bbox": box, "area": 400,
                                    "iscrowd": 0} for n, (image, category, box) in enumerate(boxes, 1)],
                   "categories": [{"id": number, "name": name} for number, name in names.items()]}
        (tmp_path / "truth.json").write_text(json.dumps(content))
        classes = {category: place for place, category in enumerate(names)}
        dataset = types.SimpleNamespace(get_anno=lambda: str(tmp_path / "truth.json"), catid2clsid=classes)
        metric = metrics.box_metric({"metric": "COCO", "classwise": True, **settings}, dataset)
        for image in (1, 2):
            found = [(classes[c], 0.9, 40 * c, 5, 40 * c + 20, 25) for c in names if image <= FOUND[c]]
            metric.update({"im_id": np.array([[image]])},
                          {"bbox": np.array(found, "float32").reshape(-1, 6), "bbox_num": np.array([len(found)])})
        metric.accumulate()
        return metric
    return evaluate_names


def draw(precision, recall, out_dir, file_name):
    """For ppdet's, which takes a tenth of a second."""
    (Path(out_dir) / file_name).write_bytes(np.array([*precision, *recall]).tobytes())


def table_of(log):
    """{name: AP} as printed."""
    text = log.text[log.text.rindex("Per-category of"):]
    cells = [cell.strip() for line in text.splitlines() if line.startswith("|") for cell in line.strip("|").split("|")]
    return {name: value for name, value in zip(cells[::2], cells[1::2]) if name not in ("category", "")}


@pytest.mark.parametrize("order", [(3, 1, 2), (1, 2, 3), (2, 3, 1)])
def test_each_ap_stands_beside_its_own_class(order, evaluated, log, tmp_path):
    names = {1: "cat", 2: "dog", 3: "fox"}
    evaluated({number: names[number] for number in order})
    assert table_of(log) == {names[number]: AP[number] for number in order}
    for number, name in names.items():
        curve = np.frombuffer((tmp_path / f"bbox_pr_curve/{name}_precision_recall_curve.jpg").read_bytes())
        assert round(curve[:101].mean(), 3) == float(AP[number])


def test_a_saved_bbox_json_has_the_same_table(evaluated, log, tmp_path, monkeypatch):
    evaluated({3: "fox", 1: "cat", 2: "dog"})
    table = table_of(log)
    log.clear()
    dataset = types.SimpleNamespace(get_anno=lambda: str(tmp_path / "truth.json"))
    monkeypatch.setattr(evaluate, "create", lambda name: lambda: dataset)
    evaluate.saved_boxes({"metric": "COCO", "classwise": True})
    assert table_of(log) == table
    log.clear()
    evaluate.saved_boxes({"metric": "COCO"})
    assert "Per-category" not in log.text


@pytest.mark.parametrize("settings", [{"classwise": False}, {"save_prediction_only": True}])
def test_no_table_where_none_is_wanted(settings, evaluated, log, tmp_path):
    evaluated({1: "cat"}, **settings)
    assert "Per-category" not in log.text and not (tmp_path / "bbox_pr_curve").exists()


def test_names_of_classes_are_no_paths_and_print_one_line(evaluated, log, tmp_path):
    work = tmp_path / "bbox_pr_curve"
    evaluated({1: "../../up", 2: f"{tmp_path}/abs", 3: "a\x1b[2J\n[INFO] AP 1.000"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bbox.json", "bbox_pr_curve", "truth.json"]
    assert len(list(work.iterdir())) == 3 and not list(tmp_path.parent.glob("up_precision*"))
    assert "\x1b" not in log.text and r"| a\x1b[2J\n[INFO] AP 1.000 |" in log.text
    text = training_report.ap_table({}, {"a\nb\x1b": (0.5, 0.5)})
    assert r"a\nb\x1b" in text and "\x1b" not in text


def test_names_that_are_alike_in_files_have_files_of_their_own(evaluated, tmp_path):
    evaluated({1: "a/b", 2: "a_b", 3: "A:b"})
    assert sorted(path.name for path in (tmp_path / "bbox_pr_curve").iterdir()) == [
        "A_b_precision_recall_curve (3).jpg", "a_b_precision_recall_curve (2).jpg", "a_b_precision_recall_curve.jpg"]


@pytest.mark.parametrize("map_type", ["11point", "integral"])
def test_voc_classes_without_objects_do_not_shift_the_others(map_type, log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(class_table, "draw_pr_curve", draw)
    (tmp_path / "labels.txt").write_text("none\n../found\nmissed\n")
    dataset = types.SimpleNamespace(get_label_list=lambda: str(tmp_path / "labels.txt"))
    metric = metrics.box_metric({"metric": "VOC", "classwise": True, "num_classes": 3, "map_type": map_type}, dataset)
    truth = {"gt_bbox": [np.array([[5., 5, 25, 25], [50, 5, 80, 25]])], "gt_class": [np.array([[1], [2]])],
             "difficult": [np.zeros((2, 1))], "scale_factor": np.ones((1, 2))}
    metric.update({"im_id": np.array([[1]]), **truth}, {"bbox": np.array([[1, .9, 5, 5, 25, 25]]),
                                                        "bbox_num": np.array([1])})
    metric.accumulate()
    metric.log()
    assert table_of(log) == {"none": "nan", "../found": "1.000", "missed": "0.000"}
    assert metric.get_results() == {"bbox": [0.5]} and re.search("mAP.0.50, .*50.00%", log.text)
    assert [path.name for path in (tmp_path / "voc_pr_curve").iterdir()] == [
        "_found_precision_recall_curve.jpg"]
