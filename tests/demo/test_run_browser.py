# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The page of the runs in a folder: what is read of each, unfinished and broken ones, names as text, its one script."""
import base64
import hashlib
import json
import os
import re

import pytest

from ppdet_ext.checkpoints import stamp
from ppdet_ext.checkpoints.facts import Facts
from ppdet_ext.cli import browse_runs
from ppdet_ext.demo import run_browser, run_folders
from ppdet_ext.errors import UserError
from ppdet_ext.report import runs_page

EVIL = "<script>alert(1)<"


def leave(folder, aps=(0.1, 0.4, 0.3), batch=4, finished=True):
    """What a training leaves in its folder; its checkpoint is the stamp alone."""
    folder.mkdir(parents=True)
    rows = [{"epoch": epoch, "loss": 9.0 - epoch, "seconds": 30.0, "ap": {"AP": ap, "AP50": 2 * ap}}
            for epoch, ap in enumerate(aps)]
    lines = [{"kind": "train", "step": 1, "images_per_second": 20.0, "memory": {"peak_mb": 900}},
             {"kind": "train", "step": 2, "images_per_second": 10.0, "memory": {"peak_mb": 1000}},
             {"kind": "train", "step": 3, "images_per_second": 2.0, "memory": {"peak_mb": 950}},
             {"kind": "warning", "step": 3, "rule": "memory", "message": "much"},
             {"kind": "eval", "step": 3, "metrics": {}, "evaluation": {"images": 50, "seconds": 2.0}}]
    (folder / "curves.json").write_text(json.dumps(rows))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "tr')
    (folder / "best_model.pdparams").write_bytes(b"weights")
    stamp.write(folder / "best_model.pdparams", stamp.Stamp("a", 3, 9, (stamp.WEIGHTS,), Facts(
        settings={"TrainReader.batch_size": str(batch), "epoch": "3"})))
    if finished:
        best = max((row["ap"] for row in rows), key=lambda ap: ap["AP"])
        (folder / "report.json").write_text(json.dumps({"ap": best}))
        (folder / "report.html").write_text("page")


def test_a_run_is_read_from_what_it_leaves(tmp_path):
    leave(tmp_path / "deep" / "a")
    run, = run_folders.find(tmp_path)
    assert (run.name, run.state, run.ap, run.ap50, run.epochs) == ("deep/a", run_folders.FINISHED, 0.4, 0.8, 3)
    assert (run.minutes, run.train_ms, run.eval_ms, run.memory, run.warnings) == (1.5, 100.0, 40.0, 1000.0, 1)
    assert run.curve == [(1, 0.1), (2, 0.4), (3, 0.3)] and run.curve_of == "AP"
    assert run.settings == {"TrainReader.batch_size": "4", "epoch": "3"}


def test_a_run_that_did_not_end_says_so(tmp_path):
    leave(tmp_path / "stopped", finished=False)
    leave(tmp_path / "again")
    # the report is of an earlier training in the same folder
    os.utime(tmp_path / "again" / "report.json", (1, 1))
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "metrics.jsonl").write_text("")
    runs = {run.name: run for run in run_folders.find(tmp_path)}
    assert {run.state for run in runs.values()} == {run_folders.UNFINISHED}
    assert runs["stopped"].ap == 0.4 and runs["begun"].ap is None


@pytest.mark.parametrize("name, content, words", [
    ("curves.json", b'[{"epoch": 0, "lo', "curves.json is no JSON"), ("curves.json", b"\xff\xfe", "curves.json is no"),
    ("curves.json", b'{"epoch": 1}', "curves.json holds no list"), ("report.json", b"[]", "report.json holds no map"),
    ("curves.json", b"[" * 100_000, "curves.json is no JSON")])
def test_a_broken_run_is_a_row_that_names_the_file(tmp_path, name, content, words):
    leave(tmp_path / "a")
    (tmp_path / "a" / name).write_bytes(content)
    run, = run_folders.find(tmp_path)
    assert run.state[0].startswith("broken: ") and words in run.state[0] and name in run.state[1]
    assert run.memory == 1000.0  # what can be read is shown


@pytest.mark.parametrize("rows", [
    [1, None, "x"], [{"epoch": "1"}], [{"epoch": 0, "ap": [1], "loss": "x"}],
    [{"epoch": 0, "ap": {"AP": None}, "seconds": None}], [{"epoch": 0, "ap": {"AP": True}}]])
def test_values_of_another_kind_count_as_not_known(tmp_path, rows):
    (tmp_path / "curves.json").write_text(json.dumps(rows))
    run, = run_folders.find(tmp_path)
    assert (run.ap, run.curve, run.state) == (None, [], run_folders.UNFINISHED)


def test_a_folder_without_runs_is_one_line(tmp_path):
    for folder, words in ((tmp_path / "none", "is not a folder"), (tmp_path, "holds no run")):
        with pytest.raises(UserError, match=words):
            browse_runs.main([str(folder)])


def test_the_page_links_sorts_and_takes_names_as_text(tmp_path, capsys):
    leave(tmp_path / "runs" / "a b#1", (0.2,))
    leave(tmp_path / "runs" / EVIL, (0.1, 0.5), batch=8)
    leave(tmp_path / "runs" / "stopped", (), finished=False)
    browse_runs.main([str(tmp_path / "runs")])
    page = (tmp_path / "runs" / "runs.html").read_text(encoding="utf-8")
    assert "3 runs: 2 finished, 1 not finished, 0 broken" in capsys.readouterr().out
    # without a click the best AP stands first, and what has none last
    assert page.index("&lt;script&gt;alert") < page.index("a b#1") < page.index(">stopped<")
    assert EVIL not in page and 'href="./a%20b%231/report.html"' in page
    assert page.count("<polyline") == 1 and page.count("TrainReader.batch_size") == 3
    assert "<b>epoch</b>" not in page  # it is the same in all
    script = re.search(r"<script>(.*?)</script>", page, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert page.count("<script") == 1 and f"script-src 'sha256-{digest}'" in page and "default-src 'none'" in page


def test_a_page_elsewhere_links_to_the_runs(tmp_path):
    leave(tmp_path / "runs" / "a")
    path, _ = run_browser.write(tmp_path / "runs", tmp_path / "pages" / "mine.html")
    assert 'href="./../runs/a/report.html"' in path.read_text(encoding="utf-8")


def test_a_curve_stays_in_its_picture():
    drawn = runs_page.sparkline([(1, 5.0), (2, 9.0), (3, 5.0)])
    points = [tuple(map(float, pair.split(","))) for pair in drawn.split()]
    assert points[0][1] == points[2][1] == runs_page.HEIGHT - 2 and points[1][1] == 2
    assert all(0 <= x <= runs_page.WIDTH for x, _ in points)
    assert runs_page.sparkline([(1, 1.0)]) == "" and "nan" not in runs_page.sparkline([(1, 1.0), (2, 1.0)])
