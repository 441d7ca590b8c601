# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One bad picture does not end a run over many, with an exported model and with a checkpoint; the exit code tells."""
import json
import os
import runpy
import sys

import cv2
import numpy as np
import paddle
import pytest
from support import known_network, pictures
from support.detections import of_bbox_json
from support.known_network import SETTINGS
from support.paths import TOOLS
from support.trainers import trainer_of

from ppdet_ext.deploy import Predictor, compare, media, session
from ppdet_ext.deploy.command_line import parse_args

KEEP_RATIO = [{"type": "Resize", "target_size": 32, "keep_ratio": True}, {"type": "Pad", "size": [32, 32]},
              *SETTINGS["Preprocess"][1:]]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {"plain": known_network.save(folder / "plain"),
            "ratio": known_network.save(folder / "ratio", Preprocess=KEEP_RATIO)}


@pytest.fixture
def folder(tmp_path):
    """Good pictures of many kinds, and what cannot be read, prepared or written."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    colour = np.full((40, 30, 3), (230, 0, 0), np.uint8)
    for name, kind in zip(GOOD, ("PNG", "WEBP", "TIFF", "GIF", "JPEG2000")):
        (folder / name).write_bytes(pictures.by_pillow(colour, kind))
    (folder / "cut.jpg").write_bytes(pictures.by_opencv(pictures.smooth(), ".jpg")[:-300])
    (folder / "bomb.png").write_bytes(pictures.png_header(20_000, 20_000))
    (folder / "thin.png").write_bytes(pictures.by_opencv(np.zeros((1, 9000, 3), np.uint8), ".png"))
    (folder / "notes.txt").touch()
    os.mkfifo(folder / "pipe.jpg")
    return folder


GOOD = ["a.png", "b.webp", "c.tif", "d.gif", "e.jp2"]


@pytest.mark.parametrize("flags", [[], ["--batch_size", "3"], ["--slice_infer", "--slice_size", "9000", "9000"]])
def test_deploy_goes_on_after_pictures_that_fail(flags, models, folder, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as left:
        session.run(parse_args(["--model_dir", str(models["ratio"]), "--image_dir", str(folder), "--output_dir",
                                str(out), "--save_results", *flags]))
    said = capsys.readouterr().out
    assert left.value.code == session.SOME_FAILED and "skipped 3 of 8 pictures" in said
    for name, words in (("bomb.png", "more pixels than"), ("cut.jpg", "cut off")):
        assert [line for line in said.splitlines() if line.startswith("skipped: ") and name in line and words in line]
    assert "of 1x9000: Resize makes nothing of it" in said
    assert "left out" in said and "pipe.jpg" in said and "'.txt'" in said
    assert sorted(of_bbox_json(out / "bbox.json")) == GOOD
    assert sorted(path.name for path in out.iterdir()) == sorted(["bbox.json", "a.png", "b.webp", "c.tif", "d.gif.png",
                                                                 "e.jp2.png"])


def test_a_run_without_failures_ends_well(models, folder, tmp_path):
    for name in ("cut.jpg", "bomb.png", "thin.png"):
        (folder / name).unlink()
    session.run(parse_args(["--model_dir", str(models["plain"]), "--image_dir", str(folder), "--output_dir",
                            str(tmp_path / "out")]))


def test_a_picture_that_cannot_be_written_does_not_end_the_run(models, tmp_path, capsys):
    """A JPEG has at most 65,535 pixels a side; its name says .jpg, though it is a PNG."""
    wide = np.zeros((4, 70_000, 3), np.uint8)
    (tmp_path / "a.jpg").write_bytes(pictures.by_opencv(wide, ".png"))
    (tmp_path / "b.jpg").write_bytes(pictures.by_opencv(pictures.smooth(), ".jpg"))
    with pytest.raises(SystemExit) as left:
        session.run(parse_args(["--model_dir", str(models["plain"]), "--image_dir", str(tmp_path), "--output_dir",
                                str(tmp_path / "out")]))
    assert left.value.code == session.SOME_FAILED and "skipped: cannot write" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.jpg"]


def test_the_tool_ends_with_the_code(models, folder, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ppdet_ext_deploy", None)
    monkeypatch.setattr(sys, "argv", ["x", "--model_dir", str(models["plain"]), "--image_dir", str(folder),
                                      "--output_dir", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(TOOLS / "deploy_infer.py"), run_name="__main__")
    assert left.value.code == session.SOME_FAILED == 4


def test_every_kind_gives_the_same_boxes(models, folder):
    predictor = Predictor(models["plain"])
    for name in GOOD:
        boxes = predictor.predict([folder / name])[0]["boxes"]
        assert compare(known_network.expected(folder / "a.png"), boxes).within(0.01)


@pytest.fixture
def trained_tiny(tiny_config, tmp_path, monkeypatch):
    """A config whose own best_model is there, with the weights of a fresh detector; tmp_path is where one works."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "output/tiny").mkdir(parents=True)
    paddle.save(trainer_of(tiny_config, mode="test").model.state_dict(), "output/tiny/best_model.pdparams")
    return tiny_config


@pytest.mark.parametrize("slices", [[], ["--slice_infer", "--slice_size", "64", "64"]])
def test_infer_goes_on_after_pictures_that_fail(slices, trained_tiny, tool, folder, tmp_path, log, monkeypatch):
    (folder / "thin.png").unlink()
    encode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda suffix, image: (suffix != ".webp", encode(suffix, image)[1]))
    with pytest.raises(SystemExit) as left:
        tool("infer").main(["-c", str(trained_tiny), "--infer_dir", str(folder), "--output_dir", "seen",
                            "--save_results", "--save_threshold", "0", *slices])
    assert left.value.code == session.SOME_FAILED
    for name, words in (("cut.jpg", "cut off"), ("bomb.png", "more pixels than"), ("b.webp", "cannot write")):
        assert [line for line in log.text.splitlines() if "Skipped" in line and name in line and words in line], name
    assert "left out" in log.text and "pipe.jpg" in log.text
    names = {path.name for path in (tmp_path / "seen").iterdir()}
    assert {"a.png", "c.tif", "d.gif.png", "e.jp2.png", "bbox.json"} <= names and "b.webp" not in names
    assert {os.path.basename(record["file_name"]) for record in json.loads((tmp_path / "seen/bbox.json").read_text())
            } >= set(GOOD)


def test_pictures_of_one_name_in_two_folders_are_both_written(trained_tiny, tool, tmp_path):
    for folder, value in (("x", 10), ("y", 200)):
        (tmp_path / "in" / folder).mkdir(parents=True)
        media.write_image(tmp_path / "in" / folder / "1.png", np.full((32, 32, 3), value, np.uint8))
    (tmp_path / "list").write_text("x/1.png\ny/1.png\n")
    tool("infer").main(["-c", str(trained_tiny), "--infer_dir", str(tmp_path / "in"), "--infer_list",
                        str(tmp_path / "list"), "--output_dir", "seen", "--draw_threshold", "1.1"])
    assert {path.name: media.read_image(path)[0, 0, 0] for path in (tmp_path / "seen").iterdir()} == {
        "1.png": 10, "1 (2).png": 200}
