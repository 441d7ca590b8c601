# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The main job through the command lines: train, resume, evaluate, infer, export, then run and evaluate that."""
import json
import os
import shlex
import subprocess
import sys

import cv2
import pytest
from support.detections import of_bbox_json
from support.paths import REPO
from support.tiny import TINY

from ppdet_ext.deploy import compare
from ppdet_ext.deploy.session import SOME_FAILED


def shell(command, folder, code=0):
    """Run ``python tools/...`` as a user would, in ``folder``; return what it printed. Fails on another exit code."""
    words = shlex.split(command)
    assert words[0] == "python"
    words = [sys.executable, str(REPO / words[1]), *words[2:]]
    done = subprocess.run(words, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
                          env={**os.environ, "PYTHONPATH": str(REPO)})
    assert done.returncode == code, f"{command}\n{done.stdout[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory, small_digits):
    """A folder in which tools/train.py has trained two epochs."""
    folder = tmp_path_factory.mktemp("run")
    text = TINY.format(configs=REPO / "configs", data=small_digits, output="output")
    (folder / "tiny.yml").write_text(text + "validate: true\n")
    options = "epoch=2 log_iter=1 report=true"
    (folder / "train.log").write_text(shell(f"python tools/train.py -c tiny.yml -o {options}", folder))
    return folder


@pytest.fixture(scope="module")
def exported(run):
    """The exported model, made by the line that training printed."""
    shell(json.loads((run / "output/tiny/report.json").read_text())["next"][2], run)
    assert (run / "output_inference/tiny/infer_cfg.yml").is_file()
    return "output_inference/tiny"


def category_classes(small_digits):
    """Category number -> class number of the sample data set."""
    content = json.loads((small_digits / "annotations" / "val.json").read_text())
    return {category["id"]: number for number, category in enumerate(content["categories"])}


def assert_same_detections(ours, other):
    """Picture for picture (4 of them with 20 boxes): a box's partner has its class, score and place."""
    assert ours.keys() == other.keys() and [len(found) for found in ours.values()] == [20] * 4
    for picture, found in ours.items():
        difference = compare(found, other[picture])
        assert difference.within(1e-3), f"{picture}: {difference}"


def test_training_leaves_what_it_says(run):
    log, output = (run / "train.log").read_text(), run / "output" / "tiny"
    facts = json.loads((output / "report.json").read_text())
    assert "Epoch: [1] [1/2] learning_rate:" in log and "max_mem:" in log
    assert "started from:    random initialisation" in log and "AP50" in log and "best checkpoint:" in log
    written = (output / "train.log").read_text()
    for part in ("tools/train.py -c tiny.yml -o epoch=2", "index created!", "Epoch: [1] [1/2] learning_rate:",
                 "Average Precision", "best checkpoint:"):
        assert part in written
    assert "index created!" not in log  # pycocotools', of which nobody can do anything
    names = {path.name for path in output.iterdir()}
    assert {f"{name}.{suffix}" for name in ("0", "model_final", "best_model")
            for suffix in ("pdparams", "pdopt", "pdema")} <= names
    assert (run / facts["checkpoint"]).is_file() and set(facts["classes"]) == set("0123456789")
    page = (run / facts["page"]).read_text(encoding="utf-8")
    assert facts["page"] in log and "arch: tf_efficientnet_lite0" in page and "Confusion matrix" in page
    for picture in (facts["picture"], facts["curves"][1]):
        assert cv2.imread(str(run / picture)) is not None
    assert [row["epoch"] for row in json.loads((output / "curves.json").read_text())] == [0, 1]
    assert sorted(path.name for path in run.iterdir()) == ["output", "tiny.yml", "train.log"]


@pytest.mark.slow
def test_the_next_commands_run(run, exported):
    evaluate, infer, _, deploy = json.loads((run / "output/tiny/report.json").read_text())["next"]
    assert "Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ]" in shell(evaluate, run)
    made = {path.name for path in (run / "eval_report").iterdir()}
    assert {"report.html", "confusion_matrix.png", "pr_curves.png", "errors.png", "sizes.png", "scores.png"} == made
    assert "best_model.pdparams" in (run / "eval_report/report.html").read_text(encoding="utf-8")
    shell(infer + " --output_dir seen --draw_threshold 0.01 --slice_infer --slice_size 64 64", run)
    assert [cv2.imread(str(path)) is not None for path in (run / "seen").iterdir()] == [True]
    shell(deploy + " --output_dir deployed --threshold 0.01", run)
    assert [cv2.imread(str(path)) is not None for path in (run / "deployed").glob("*.jpg")] == [True]


@pytest.mark.slow
def test_resuming_through_the_command_line(run):
    out = shell("python tools/train.py -c tiny.yml -r output/tiny/0 -o save_dir=again", run)
    assert "resumed at epoch 1" in out and "Epoch: [0]" not in out and "Epoch: [1]" in out
    rows = json.loads((run / "again/tiny/curves.json").read_text())
    assert [row["epoch"] for row in rows] == [0, 1] and "ap" in rows[0]


def test_checkpoint_and_exported_model_agree(run, exported, small_digits):
    weights = "-c tiny.yml -o weights=output/tiny/best_model.pdparams"
    images = run / "images"
    images.mkdir()
    for path in (small_digits / "val").glob("*.jpg"):
        (images / path.name).write_bytes(path.read_bytes())
    (images / "broken.jpg").write_bytes(b"no picture")
    out = shell(f"python tools/infer.py {weights} --infer_dir images --output_dir a --save_results True "
                "--save_threshold 0 --visualize False", run, SOME_FAILED)
    assert "broken.jpg" in out and [path.name for path in (run / "a").iterdir()] == ["bbox.json"]
    shell(f"python tools/deploy_infer.py --model_dir {exported} --image_dir images --output_dir b --save_results "
          "--save_images False", run, SOME_FAILED)
    assert_same_detections(of_bbox_json(run / "a/bbox.json", category_classes(small_digits)),
                           of_bbox_json(run / "b/bbox.json"))


def test_the_exported_model_has_the_checkpoints_ap(run, exported):
    tables = [
        shell(f"python tools/eval.py -c tiny.yml {what} --output_eval {folder}", run)
        for what, folder in (("-o weights=output/tiny/best_model.pdparams", "eval_a"),
                             (f"--model_dir {exported} --batch_size 2", "eval_b"))]
    rows = [[line for line in table.splitlines() if line.startswith(" Average")] for table in tables]
    assert len(rows[0]) == 12 and rows[0] == rows[1]
    assert_same_detections(*(of_bbox_json(run / folder / "bbox.json") for folder in ("eval_a", "eval_b")))


def test_one_slice_as_large_as_the_picture_is_the_picture(run, exported, tool, monkeypatch):
    monkeypatch.chdir(run)
    weights = ["-c", "tiny.yml", "-o", "weights=output/tiny/best_model.pdparams", "--device", "cpu"]
    slices = ["--slice_infer", "--slice_size", "96", "96", "--combine_method", "concat"]
    tool("eval").main([*weights, "--output_eval", "whole"])
    tool("eval").main([*weights, "--output_eval", "one_slice", *slices])
    tool("eval").main([*weights, "--output_eval", "exported_slice", *slices, "--model_dir", exported])
    tool("eval").main([*weights, "--output_eval", "four_slices", "--slice_infer", "--slice_size", "48", "48"])
    whole, one, of_export, four = (of_bbox_json(run / folder / "bbox.json") for folder in (
        "whole", "one_slice", "exported_slice", "four_slices"))
    assert_same_detections(whole, one)
    assert_same_detections(whole, of_export)
    assert set(four) == set(whole) and any(len(four[name]) != len(whole[name]) for name in whole)


def test_an_old_bbox_json_is_evaluated_again(run, tool, capsys, monkeypatch):
    monkeypatch.chdir(run)
    tool("eval").main(["-c", "tiny.yml", "--json_eval", "--output_eval", "output/tiny"])
    assert "Average Precision" in capsys.readouterr().out
