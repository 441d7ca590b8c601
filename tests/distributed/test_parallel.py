# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Several processes give what one gives: losses, a batch without boxes, AP, files; one's error ends all."""
import json
import os
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn
from ppdet.metrics import COCOMetric
from support.parallel_runs import FIXED, compare_curves, rows_of
from support.paths import REPO

from ppdet_ext.cli import load_cfg
from ppdet_ext.distributed import processes
from ppdet_ext.distributed.shared_evaluation import DistributedMetric, Share
from ppdet_ext.errors import UserError
from ppdet_ext.graph.ops.timm_norm_leaves import BatchNormAct2d, SyncBatchNormAct2d, sync_batch_norms

# processes that share a busy machine are slow; these only end what hangs
SECONDS = 1500

def launch(folder, *command, number=2):
    """Run ``command`` in ``number`` processes; (exit code, what all of them printed, with the launcher's own lines).

    The log of each process is ``folder``/log/workerlog.N.
    """
    shutil.rmtree(folder / "log", ignore_errors=True)
    launcher = [sys.executable, "-W", "ignore", "-m", "paddle.distributed.launch", "--nproc_per_node", str(number)]
    # an empty CUDA_VISIBLE_DEVICES makes the launcher count GPUs that are not there
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment["PYTHONPATH"] = str(REPO)
    # with more threads Paddle sums in another order: after five epochs 8e-4 between two processes and one, not 4e-6
    environment["OMP_NUM_THREADS"] = "1"
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


def boxes_of(path):
    """Image, class and numbers of a bbox.json, in the file's order."""
    records = json.loads(Path(path).read_text())
    return ([(record["image_id"], record["category_id"]) for record in records],
            np.array([[record["score"], *record["bbox"]] for record in records]))


@pytest.mark.multiproc
@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one(tmp_path, half_empty, tool, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(tmp_path, half_empty, [*FIXED, "TrainReader.batch_size=4", "save_dir=one"], number=1)
    out = train(tmp_path, half_empty, [*FIXED, "TrainReader.batch_size=2", "save_dir=two"])
    two = tmp_path / "two" / "tiny"

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


# ---------------------------------------------------------------- in this process, with stand-ins for the other
@pytest.fixture
def three(monkeypatch):
    """This is ``three.rank`` of three processes, which have gathered ``three.parts``."""
    state = types.SimpleNamespace(rank=0, parts=None)
    monkeypatch.setattr(processes, "count", lambda: 3)
    monkeypatch.setattr(processes, "rank", lambda: state.rank)
    monkeypatch.setattr(processes, "all_gather", lambda thing: state.parts or [thing])
    return state


def detections_near(content, rng):
    """For each image a batch of one: (inputs, outputs) with its true boxes, moved, and as many wrong ones."""
    for image in content["images"]:
        boxes = [[entry["category_id"], rng.uniform(0.2, 1), x, y, x + w, y + h] for entry in content["annotations"]
                 if entry["image_id"] == image["id"] for x, y, w, h in [entry["bbox"]]]
        boxes = np.array(boxes + [[rng.integers(10), rng.uniform(0, 0.7), 5, 5, 30, 30]])
        boxes[:, 2:] += rng.normal(0, 2, [len(boxes), 4])
        yield ({"im_id": np.array([[image["id"]]]), "image": None, "scale_factor": np.ones([1, 2])},
               {"bbox": boxes.astype("float32"), "bbox_num": np.array([len(boxes)])})


def test_shared_evaluation_has_the_ap_of_one_process(three, small_digits, tmp_path):
    annotations = small_digits / "annotations" / "train.json"
    batches = list(detections_near(json.loads(annotations.read_text()), np.random.default_rng(0)))
    assert len(batches) % 3

    def metric(name):
        (tmp_path / name).mkdir()
        return COCOMetric(anno_file=str(annotations), clsid2catid={i: i for i in range(10)}, classwise=False,
                          output_eval=str(tmp_path / name), bias=0, IouType="bbox", save_prediction_only=False)
    alone = metric("alone")
    for batch in batches:
        alone.update(*batch)
    alone.accumulate()

    seen = []
    for three.rank in (2, 1, 0):
        shared = DistributedMetric([metric(f"shared{three.rank}")])
        for batch in Share(batches):
            shared.update(*batch)
        seen.insert(0, shared.seen)
    assert [len(part) for part in seen] == [3, 3, 2]
    three.parts = seen
    shared.score(seen)
    np.testing.assert_array_equal(shared.results["bbox"], alone.get_results()["bbox"])
    assert 0.1 < shared.results["bbox"][0] < 0.9
    assert (tmp_path / "shared0/bbox.json").read_text() == (tmp_path / "alone/bbox.json").read_text()


def test_every_batch_is_in_one_share(three):
    for number in range(8):
        shares = []
        for three.rank in range(3):
            share = Share([[i] for i in range(number)])
            assert len(share) == len(list(share))
            shares += share
        assert sorted(shares) == [[i] for i in range(number)]


def test_synchronized_norms_are_converted_once():
    network = nn.Sequential(nn.Conv2D(3, 4, 1), BatchNormAct2d(4, act=nn.ReLU()))
    network = sync_batch_norms(network)
    assert type(nn.SyncBatchNorm.convert_sync_batchnorm(network)[1]) is SyncBatchNormAct2d
    assert float(network(paddle.randn([2, 3, 4, 4])).min()) == 0  # the activation is still there


def test_a_frozen_norm_keeps_its_statistics():
    network = nn.Sequential(nn.BatchNorm2D(4, use_global_stats=True), nn.BatchNorm2D(4))
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    assert [type(layer) for layer in network] == [nn.BatchNorm2D, nn.SyncBatchNorm]
    network[0](paddle.randn([2, 4, 3, 3]) + 5)
    assert float(network[0]._mean.abs().max()) == 0


def test_a_tool_for_one_process_says_so(three):
    with pytest.raises(UserError, match="runs in one process"):
        load_cfg(None, "test")


# ---------------------------------------------------------------- in two processes, slowly
@pytest.mark.slow
@pytest.mark.multiproc
def test_what_processes_do_together(tmp_path):
    code, _ = launch(tmp_path, REPO / "tests" / "support" / "parallel_worker.py")
    logs = [(tmp_path / "log" / f"workerlog.{rank}").read_text() for rank in (0, 1)]
    assert code == 0, "\n".join(logs)
    assert all(log.count(" passed") == 5 for log in logs)


# a picture that goes bad after the data set was checked, in one process
FAILING = """\
from ppdet.data.transform import operators
from ppdet_ext import UserError
from ppdet_ext.distributed import processes
def apply(self, sample, context=None):
    raise UserError(f"image {sample['im_id']} is unreadable")
if processes.rank() == RANK:
    operators.RandomFlip.apply = apply
"""


@pytest.mark.slow
@pytest.mark.multiproc
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_in_one_process_ends_all_in_one_line(tmp_path, half_empty, rank):
    (tmp_path / "failing.py").write_text(FAILING.replace("RANK", str(rank)))
    code, out = launch(tmp_path, REPO / "tools" / "train.py", "-c", half_empty, "--import", "failing.py")
    assert code != 0 and "Traceback (most recent call last)" not in out.replace("C++ Traceback", ""), out
    lines = {line for line in out.splitlines() if line.startswith("error:")}
    assert len(lines) == 1 and lines.pop().startswith(f"error: process {rank} of 2: image"), out
    other = (tmp_path / "log" / f"workerlog.{1 - rank}").read_text()
    assert "error:" not in other and "Traceback (most recent" not in other.replace("C++ Traceback", ""), other


@pytest.mark.slow
@pytest.mark.multiproc
def test_recomputing_two_processes_train_as_one(tmp_path, half_empty, monkeypatch):
    # oneDNN's convolutions round differently for another batch size, and in the third epoch one match is nearly a tie
    monkeypatch.setenv("PPDET_EXT_KERNELS", "0")
    options = [*FIXED, "epoch=5", "snapshot_epoch=5"]
    for number, batch in ((2, 2), (1, 4)):
        train(tmp_path, half_empty, [*options, f"TrainReader.batch_size={batch}", f"save_dir=by{number}",
                                     "TimmBackbone.recompute=true"], number)
    compare_curves(rows_of(tmp_path / "by2" / "tiny"), rows_of(tmp_path / "by1" / "tiny"))


@pytest.mark.slow
@pytest.mark.multiproc
@pytest.mark.parametrize("options", [[], ["--slice_infer", "--slice_size", "64", "64"]])
def test_the_evaluation_tool_in_two_processes(tmp_path, half_empty, tool, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    tool("train").main(["-c", str(half_empty), "-o", "epoch=1"])
    command = ["-c", str(half_empty), "-o", f"weights={tmp_path / 'output/tiny/model_final'}", *options]
    code, out = launch(tmp_path, REPO / "tools" / "eval.py", *command, "--output_eval", "two")
    assert code == 0 and out.count("(AP) @[ IoU=0.50:0.95 | area=   all") == 1, out
    tool("eval").main([*command, "--output_eval", "one"])
    (images, numbers), (expected_images, expected_numbers) = boxes_of("two/bbox.json"), boxes_of("one/bbox.json")
    assert images == expected_images
    np.testing.assert_allclose(numbers, expected_numbers, rtol=1e-4, atol=1e-4)
