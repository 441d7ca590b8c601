# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The page of models without the page: what is kept, tables and files of boxes, where it is served; without Gradio."""
import csv
import io
import json
import socket

import numpy as np
import pytest

from ppdet_ext.cli import demo
from ppdet_ext.demo import page_address, page_server, shown_boxes
from ppdet_ext.errors import UserError

BOXES = np.array([[0, 0.3, 1, 2, 3, 4], [1, 0.9, 10, 20, 30.126, 40], [0, 0.6, 5, 5, 9, 9], [7, 0.5, 0, 0, 1, 1]],
                 np.float32)


@pytest.fixture
def found():
    return shown_boxes.Found("A", ["cat", "狗, \"big\""], BOXES, {"preprocess": 1.0, "inference": 20.4567})


@pytest.mark.parametrize("threshold, classes, scores", [
    (0.0, (), [0.9, 0.6, 0.5, 0.3]), (0.5, (), [0.9, 0.6, 0.5]), (0.95, (), []), (0.0, ("cat",), [0.6, 0.3]),
    (0.4, ("cat", "7"), [0.6, 0.5]), (0.0, ("mouse",), [])])
def test_threshold_and_classes_choose_among_the_same_boxes(found, threshold, classes, scores):
    before = found.boxes.copy()
    kept = found.kept(threshold, classes)
    np.testing.assert_allclose(kept[:, 1], scores, rtol=1e-6)
    kept[:] = -1  # what is drawn is scaled: that must not reach what is kept for the next threshold
    np.testing.assert_array_equal(found.boxes, before)


def test_rows_name_what_a_model_has_no_name_for(found):
    rows = found.rows(0.5)
    assert [row["class"] for row in rows] == ["狗, \"big\"", "cat", "7"]
    assert rows[0] == {"model": "A", "class_id": 1, "class": "狗, \"big\"", "score": 0.9, "x1": 10, "y1": 20,
                       "x2": 30.13, "y2": 40}


def test_json_and_csv_hold_what_is_shown_and_nothing_else(found):
    other = shown_boxes.Found("B", ["cat"], np.zeros((0, 6), np.float32), {})
    content = json.loads(shown_boxes.as_json("a.jpg", (40, 50), [found, other], 0.6, ["cat"]))
    assert (content["picture"], content["width"], content["height"]) == ("a.jpg", 40, 50)
    assert [len(model["boxes"]) for model in content["models"]] == [1, 0]
    assert content["models"][0]["milliseconds"]["inference"] == 20.46 and content["models"][0]["boxes"][0]["x2"] == 9
    rows = list(csv.DictReader(io.StringIO(shown_boxes.as_csv([found, other], 0.6))))
    assert [(row["model"], row["class"], row["score"]) for row in rows] == [("A", "狗, \"big\"", "0.9"),
                                                                          ("A", "cat", "0.6")]


def test_classes_of_two_models_stand_once():
    assert shown_boxes.class_names([["a", "b"], ["b", "c", "a"]]) == ["a", "b", "c"]


@pytest.mark.parametrize("host, alone", [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True),
                                         ("0.0.0.0", False), ("::", False), ("192.168.1.5", False),
                                         ("my-machine", False), ("127.0.0.1.example.org", False)])
def test_only_loopback_is_this_machine_alone(host, alone):
    assert page_address.is_this_machine(host) == alone


def test_a_free_port_is_taken_where_the_wanted_one_is_not_free():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        ours, port = page_address.listen("127.0.0.1", taken)
        with ours:
            assert port not in (0, taken) and ours.getsockname() == ("127.0.0.1", port)


@pytest.mark.parametrize("host, port", [("192.0.2.1", 0), ("x" * 70, 0), ("2001:db8::1", 7860)])
def test_a_host_that_is_not_this_machines_is_one_line(host, port):
    with pytest.raises(UserError, match=f"cannot serve a page at --host {host} --port {port} .*--port 0 takes") as told:
        page_address.listen(host, port)
    assert "\n" not in str(told.value)


def test_without_gradio_one_line_says_what_installs_it(monkeypatch):
    monkeypatch.setattr(page_server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'ppdet-ext\[demo\]'"):
        page_server.run(demo.parse_args(["--model_dir", "nowhere"]))


@pytest.mark.parametrize("flags, words", [
    (["--model_dir", "a", "b", "c"], "at most 2 models, not 3"),
    (["--model_dir", "a", "--engine", "paddle", "openvino"], "one for each of the 1 models"),
    (["--model_dir", "a", "--port", "70000"], "from 0 to 65535"),
    (["--model_dir", "a", "--threshold", "2"], "from 0 to 1")])
def test_wrong_flags_are_one_line(flags, words, capsys):
    with pytest.raises(SystemExit) as left:
        demo.parse_args(flags)
    told = capsys.readouterr().err
    assert left.value.code == 2 and words in told and told.count("\n") == 1


@pytest.mark.parametrize("given, count, wanted", [
    (None, 2, [None, None]), (["openvino"], 2, ["openvino"] * 2), (["paddle", "openvino"], 2, ["paddle", "openvino"])])
def test_one_engine_is_for_all(given, count, wanted):
    assert page_server.engines(given, count) == wanted
