# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Several processes give what one gives: losses, a batch without boxes, AP, files; one's error ends all."""
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPO

# processes that share a busy machine are slow; these only end what hangs
SECONDS = 1500
# What differs otherwise. By chance: augmentation, order of images, denoising noise. By rounding, which an untrained
# network enlarges: which of nearly equal queries are selected (here all are), and where the steps of TINY lead.
FIXED = ["seed=0", "TrainReader.sample_transforms=[Decode: {}]", "TrainReader.shuffle=false", "norm_type=sync_bn",
         "RTDETRTransformer.label_noise_ratio=0.", "RTDETRTransformer.box_noise_scale=0.",
         "RTDETRTransformer.num_queries=84", "LearningRate.base_lr=0.0001"]


def launch(folder, *command, number=2):
    """Run ``command`` in ``number`` processes; (exit code, what all of them printed, with the launcher's own lines).

    The log of each process is ``folder``/log/workerlog.N.
    """
    shutil.rmtree(folder / "log", ignore_errors=True)
    launcher = [sys.executable, "-W", "ignore", "-m", "paddle.distributed.launch", "--nproc_per_node", str(number)]
    # an empty CUDA_VISIBLE_DEVICES makes the launcher count GPUs that are not there
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment["PYTHONPATH"] = str(REPO)
    with open(folder / "launch.txt", "w") as out, subprocess.Popen(
            [*launcher, *map(str, command)], cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True) as running:
        try:
            code = running.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            raise
    return code, (folder / "launch.txt").read_text()


def train(folder, config, options, number=2):
    code, out = launch(folder, REPO / "tools" / "train.py", "-c", config, "--eval", "-o", *options, number=number)
    assert code == 0, out
    return out


@pytest.fixture
def half_empty(tmp_path, tiny_config, small_digits):
    """tiny_config with a data set of 8 and 5 images, whose last two training images have no box: with batches of 2 in
    order they are the whole batch of process 1 at every second step, while the evaluation's batches are 2, 2 and 1."""
    root = tmp_path / "data"
    shutil.copytree(small_digits, root)
    path = root / "annotations" / "train.json"
    content = json.loads(path.read_text())
    empty = {entry["id"] for entry in content["images"][-2:]}
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] not in empty]
    path.write_text(json.dumps(content))
    path = root / "annotations" / "val.json"
    content = json.loads(path.read_text())
    shutil.copy(root / "val" / "000000.jpg", root / "val" / "again.jpg")
    content["images"].append({**content["images"][0], "id": 99, "file_name": "again.jpg"})
    path.write_text(json.dumps(content))
    tiny_config.write_text(tiny_config.read_text().replace(str(small_digits), str(root)))
    return tiny_config


def rows_of(folder):
    return json.loads((folder / "curves.json").read_text())


def compare_curves(rows, expected, tolerance=1e-4):
    """Every term of every epoch's loss within ``tolerance`` of the whole loss."""
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected):
        given, wanted = ({"loss": part["loss"], **part["losses"]} for part in (row, wanted))
        assert given.keys() == wanted.keys()
        assert max(abs(given[name] - wanted[name]) for name in given) <= tolerance * wanted["loss"], (given, wanted)


def boxes_of(path):
    """Image, class and numbers of a bbox.json, in the file's order."""
    records = json.loads(Path(path).read_text())
    return ([(record["image_id"], record["category_id"]) for record in records],
            np.array([[record["score"], *record["bbox"]] for record in records]))


def test_two_processes_train_and_evaluate_as_one(tmp_path, half_empty, tool, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    out = train(tmp_path, half_empty, [*FIXED, "TrainReader.batch_size=2", "save_dir=two"])
    two = tmp_path / "two" / "tiny"
    tool("train").main(["-c", str(half_empty), "-o", *FIXED, "TrainReader.batch_size=4", "save_dir=one"])

    compare_curves(rows_of(two), rows_of(tmp_path / "one" / "tiny"))

    tool("eval").main(["-c", str(half_empty), "--output_eval", "alone", "-o", *FIXED, f"weights={two / 'best_model'}"])
    images, numbers = boxes_of(two / "best_model.bbox.json")
    expected_images, expected_numbers = boxes_of("alone/bbox.json")
    assert images == expected_images and len({image for image, _ in images}) == 5
    np.testing.assert_allclose(numbers, expected_numbers, rtol=1e-4, atol=1e-4)
    assert "Total sample number: 5," in out

    # the main process alone tells and writes
    assert out.count("best checkpoint:") == out.count("Epoch: [1] [1/2]") == 1
    silent = (tmp_path / "log" / "workerlog.1").read_text()
    assert "INFO" not in silent and "Average Precision" not in silent
    assert not [path for path in two.iterdir() if path.name.startswith(".")]
