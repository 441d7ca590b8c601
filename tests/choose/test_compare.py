# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""compare_backbones: networks that fail, turns that go round, the front, the batch that fits, what is written."""
import contextlib
import csv
import json
import subprocess
import sys

import pytest
from support.paths import REPO

from ppdet_ext.choose import comparing, comparison_table, known_names, pareto, short_runs, under_detector
from ppdet_ext.cli import compare_backbones
from ppdet_ext.config import config_file
from ppdet_ext.errors import UserError
from ppdet_ext.sweep.worker_pool import Lost

TIME = "detector_exported_fp32"


def row(name, ms=None, **values):
    latency = {TIME: {"median": ms, "low": ms - 1, "high": ms + 1}} if ms else {}
    return {"name": name, "status": "ok", "reason": "", "latency": latency, "missing": {}, **values}


# ---------------------------------------------------------------- the comparison
class FakeWorker:
    """Answers as a worker would; ``asked`` is what all of them were asked."""

    asked: list = []

    def __init__(self, number):
        self.number = number

    def ask(self, name, step, **given):
        self.asked.append((self.number, name, step))
        self.given = name, step, given

    def look(self):
        name, step, given = self.given
        if name == "dies" and step == "turn":
            raise Lost("the process died with SIGKILL: no message")
        if name == "raises":
            return {"name": name, "status": "failed", "reason": "UserError: no such thing"}
        values = {"prepare": {"how": "native", "missing": {}}, "turn": {"times": {TIME: 10.0 + given.get("seed", 0)}}}
        return {"name": name, "status": "ok", **values.get(step, {"peak": 1000.0 + 100 * given.get("batch", 0)})}


@pytest.fixture
def workers(monkeypatch):
    """The comparison with fake workers; the list of (worker, name, step) that they are asked."""
    FakeWorker.asked = []
    numbers = iter(range(1000))
    monkeypatch.setattr(comparing, "worker", lambda settings: contextlib.nullcontext(FakeWorker(next(numbers))))
    return FakeWorker.asked


def test_a_network_that_fails_is_a_row_and_the_others_take_turns(workers):
    told = []
    rows = comparing.compare(["a", "dies", "raises", "b"], comparing.Settings(rounds=3), told.append)
    assert [one["status"] for one in rows] == ["ok", "failed", "failed", "ok"] and told == [rows]
    assert rows[1]["reason"] == "turn: the process died with SIGKILL: no message"
    assert rows[2]["reason"] == "no such thing"
    # the first turn warms up and does not count
    assert rows[0]["latency"] == {TIME: {"median": 12.0, "low": 11.0, "high": 13.0}}
    turns = [name for _, name, step in workers if step == "turn" and name != "dies"]
    assert [set(turns[place:place + 2]) for place in range(0, 8, 2)] == [{"a", "b"}] * 4
    assert len({turns[place] for place in range(0, 8, 2)}) == 2  # neither always goes first
    assert not any(step.endswith("_peak") for _, name, step in workers if name in ("dies", "raises"))


def test_each_peak_has_a_process_of_its_own_and_the_largest_batch_is_extrapolated(workers):
    found, = comparing.compare(["a"], comparing.Settings(rounds=1, batch=4, memory=3050, confirm=True))
    peaks = [(number, step) for number, _, step in workers if step.endswith("_peak")]
    assert len({number for number, _ in peaks}) == len(peaks)
    assert found["training_peak"] == {4: 1400.0, 8: 1800.0}
    assert (found["largest_batch"], found["largest_batch_peak"], found["confirmed_peak"]) == (20, 3000.0, 3000.0)


@pytest.mark.parametrize("peaks, memory, wanted", [
    ({2: 1000, 4: 1400}, 1400, (4, 1400)), ({2: 1000, 4: 1400}, 1399, (3, 1200)), ({2: 1000, 4: 1400}, 500, (0, 600)),
    ({2: 1000, 4: 1000}, 9000, (4, 1000))])
def test_the_largest_batch(peaks, memory, wanted):
    assert comparing.largest_batch(peaks, memory) == wanted


def test_groups_are_compared_one_after_the_other(workers, monkeypatch):
    monkeypatch.setattr(comparing, "GROUP", 2)
    told = []
    comparing.compare(["a", "b", "c"], comparing.Settings(rounds=1), lambda rows: told.append(len(rows)))
    assert told == [2, 3]


# ---------------------------------------------------------------- the front
def test_front_of_accuracy_and_time():
    rows = [row("fast", 10, top1=70.0), row("good", 30, top1=80.0), row("beaten", 30, top1=75.0),
            row("equal", 10, top1=70.0), row("unknown", 5)]
    axes = comparison_table.marked(rows)
    assert axes.quality == "top1" and "ImageNet top-1" in axes.text[0]
    assert [one["name"] for one in rows if one["pareto"]] == ["fast", "good", "equal"]


def test_without_accuracy_it_is_of_parameters_and_says_so():
    rows = [row("small", 20, parameters=3.0), row("large", 30, parameters=9.0),
            row("quick", 10, parameters=9.0, top1=80)]
    axes = comparison_table.marked(rows)  # one top-1 alone has no rival
    assert axes.quality == "parameters" and "no AP or top-1 is known" in axes.text[0]
    assert [one["name"] for one in rows if one["pareto"]] == ["small", "quick"]
    assert pareto.axes_of([row("nothing")]) is None


def test_ap_of_the_same_training_comes_before_top1():
    assert pareto.axes_of([row("a", 1, ap=0.1, top1=9), row("b", 2, ap=0.2, top1=8)]).quality == "ap"


# ---------------------------------------------------------------- what is written
ROWS = [row("a|b", 10, top1=70.0, parameters=1.0, detector_parameters=20.0, strides=[8, 16], channels=[32, 64],
            training_peak={2: 1000.0, 4: 1400.0}, largest_batch=12, largest_batch_peak=3000.0, how="native"),
        row("c", 20, top1=71.5, missing={"detector_eager_bf16": "this processor has no bfloat16"}, how="bridged"),
        {"name": "d", "status": "failed", "reason": "unknown arch 'd'", "latency": {}, "missing": {}}]


def test_files_of_a_comparison(tmp_path):
    paths = comparison_table.write(ROWS, tmp_path, [("measured somewhere", "在某处测量")])
    assert [path.name for path in paths] == [f"compare.{end}" for end in ("html", "md", "csv", "json", "png")]
    html, page = (path.read_text() for path in paths[:2])
    assert "a|b*" in html and "在某处测量" in html and "10 (9-11)" in html and "<svg" not in page
    assert "a\\|b\\*" in page and "10 (9-11)" in page and "d failed: unknown arch 'd'" in page
    assert "No detector eager bf16 of c: this processor has no bfloat16." in page
    assert r"\~12<br>\~3,000 MB" in page and "2: 1,000<br>4: 1,400" in page
    assert "Pareto front" in page and "ImageNet top-1 against latency of the detector, exported, fp32" in page
    with open(paths[2], newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["status"] for line in lines] == ["ok", "ok", "failed"]
    assert lines[0][f"latency_{TIME}_median"] == "10" and lines[0]["training_peak_4"] == "1400.0"
    assert json.loads(paths[3].read_text())["rows"][0]["pareto"] is True
    assert paths[4].read_bytes().startswith(b"\x89PNG")


def test_what_was_there_stays_where_the_picture_fails(tmp_path, monkeypatch):
    comparison_table.write(ROWS[:1], tmp_path, [])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def fails(*_args):
        raise RuntimeError("no picture")

    monkeypatch.setattr(comparison_table, "scatter", fails)
    with pytest.raises(RuntimeError):
        comparison_table.write(ROWS, tmp_path, [])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_terminal_shows_the_table(capsys):
    comparison_table.show(ROWS, [("measured somewhere", "在某处测量")])
    out = capsys.readouterr().out
    assert "a|b*" in out and "10 (9-11)" in out and "measured somewhere" in out and "unknown arch 'd'" in out
    assert "AP, from" not in out  # no row has one


# ---------------------------------------------------------------- names, flags, trainings
def test_names_and_patterns():
    found = known_names.wanted(["resnet50.a1_in1k"], ["resnet1?", "resnet18", "resnet34"])
    assert found == ["resnet50.a1_in1k", "resnet18", "resnet34"]
    with pytest.raises(UserError, match="nothing"):
        known_names.wanted([], ["nothing*"])


def test_what_is_published_is_that_of_the_tag():
    default, other = under_detector.published("resnet50"), under_detector.published("resnet50.tv_in1k")
    assert default["licence"] == "apache-2.0" and 70 < other["top1"] < default["top1"] < 90
    assert (default["weights"], other["weights"]) == ("a1_in1k", "tv_in1k")
    assert under_detector.published("resnet50.mine") == {"weights": "mine"}


@pytest.mark.parametrize("text, wanted", [("8GB", 8192), ("600MB", 600), ("1.5g", 1536), ("700", 700)])
def test_amounts_of_memory(text, wanted):
    assert compare_backbones.parse_args(["--arch", "x", "--memory", text]).memory == wanted


@pytest.mark.parametrize("words", [["--arch", "x", "--memory", "much"], ["--arch", "x", "--memory", "0GB"], [],
                                   ["--arch", "x", "--size", "1", "2", "3"], ["--arch", "x", "--rounds", "0"],
                                   ["--arch", "x", "--confirm"], ["--arch", "x", "--data", "dataset/mine"]])
def test_mistaken_flags_are_one_line(words, capsys):
    with pytest.raises(SystemExit) as left:
        compare_backbones.parse_args(words)
    assert left.value.code == 2 and "error: " in capsys.readouterr().err.splitlines()[-1]


def test_a_detector_that_is_no_detr_is_refused(tmp_path):
    (tmp_path / "x.yml").write_text("architecture: YOLOv3\n")
    with pytest.raises(UserError, match="architecture is 'YOLOv3'"):
        under_detector.require_detr(str(tmp_path / "x.yml"))


@pytest.mark.parametrize("steps, pictures, batch, wanted", [
    (200, 400, 8, (4, 400)), (100, 400, 8, (4, 200)), (400, 100, 8, (34, 100))])
def test_trainings_have_the_steps_that_were_asked_for(steps, pictures, batch, wanted):
    epochs, taken = short_runs._epochs(steps, pictures, batch)
    assert (epochs, taken) == wanted and epochs * (taken // batch) >= steps


def test_the_config_of_a_short_training_is_one_that_trains(tmp_path, coco_folder, monkeypatch, capsys):
    def fails(command, stdout, **_kwargs):
        stdout.write(b"first\nerror: the loss became nan\n")
        return type("Done", (), {"returncode": 2})

    monkeypatch.setattr(short_runs.subprocess, "run", fails)
    runs = short_runs.Runs(tmp_path, data=str(coco_folder), steps=4, pretrained="false")
    found = short_runs.train(["torchvision/resnet18"], runs)["torchvision/resnet18"]
    assert found["status"] == "failed" and found["reason"] == "training: error: the loss became nan"
    cfg = config_file.read(tmp_path / "torchvision-resnet18.yml")
    assert cfg["DETR"]["backbone"] == "TorchvisionBackbone" and cfg["TorchvisionBackbone"]["arch"] == "resnet18"
    assert cfg["TorchvisionBackbone"]["pretrained"] is False and cfg["num_classes"] == 2
    assert cfg["TrainDataset"]["dataset_dir"] == str(coco_folder)
    assert f"data: COCO, in {coco_folder}" in capsys.readouterr().out
    rows = [row("torchvision/resnet18")]
    comparing.add_trainings(rows, {"torchvision/resnet18": found})
    assert rows[0]["status"] == "failed" and "became nan" in rows[0]["reason"]


@pytest.mark.slow
@pytest.mark.multiproc
def test_the_tool_compares_real_networks(tiny_config, tmp_path):
    """One that works and one that does not: all columns, a training, the files."""
    flags = ["--arch", "tf_efficientnet_lite0", "no_such_network", "-c", str(tiny_config), "--size", "64", "--rounds",
             "1", "--memory", "1GB", "--confirm", "--train", "--steps", "4", "--pretrained", "false", "--device", "cpu"]
    done = subprocess.run([sys.executable, str(REPO / "tools" / "compare_backbones.py"), *flags], cwd=tmp_path,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    assert done.returncode == 1, done.stdout[-3000:]
    assert "no_such_network failed: unknown arch 'no_such_network'" in done.stdout
    found, failed = json.loads((tmp_path / "output/compare/compare.json").read_text())["rows"]
    assert failed["status"] == "failed" and found["status"] == "ok", found["reason"]
    half = {f"{part}_exported_bf16" for part in ("backbone", "detector")}
    timed = {f"{part}_{form}_fp32" for part in ("backbone", "detector") for form in ("eager", "exported")}
    assert timed <= set(found["latency"]) and half <= {*found["latency"], *found["missing"]}
    assert all(0 < one["low"] <= one["median"] <= one["high"] for one in found["latency"].values())
    assert found["strides"] == [8, 16, 32] and found["how"] == "native" and found["licence"] == "apache-2.0"
    assert 0 < found["gflops"] < found["detector_gflops"] and 0 < found["parameters"] < found["detector_parameters"]
    assert found["largest_batch"] >= 0 and 0 < found["exported_peak"] < found["training_peak"]["2"]
    assert found["start"].startswith("random") and found["curve"] and 0 <= found["ap"] <= 1
    assert (tmp_path / "output/compare/train/tf_efficientnet_lite0/model_final.pdparams").is_file()
