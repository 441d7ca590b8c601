# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A batch job with Ray itself: killed and gone on with, a worker that dies, who can reach it, what is left (slow)."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from support import known_onnx
from support.paths import REPO

from ppdet_ext.deploy import media

for package in ("ray", "pyarrow"):
    pytest.importorskip(package, reason="pip install 'ppdet-ext[ray]'")
for package in ("onnx", "onnxruntime"):
    pytest.importorskip(package, reason="pip install 'ppdet-ext[onnx]'")

pytestmark = [pytest.mark.slow, pytest.mark.multiproc]
COUNT, SHARD = 400, 5
PATIENCE = 600  # seconds; only a run that hangs takes them


@pytest.fixture
def words(tmp_path):
    """The command of a job over COUNT pictures, of which the last is none; ``output`` is its last word."""
    known_onnx.save(tmp_path / "model")
    (tmp_path / "in").mkdir()
    for number in range(COUNT - 1):
        path = tmp_path / "in" / f"{number:04d}.png"
        if number < 20:
            image = np.full((600 + number, 800, 3), (number, 255 - number, 128), np.uint8)
            path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
        else:
            os.link(tmp_path / "in" / f"{number % 20:04d}.png", path)
    (tmp_path / "in" / "zzz.jpg").write_bytes(b"no picture")
    return [sys.executable, "-m", "ppdet_ext.cli", "batch", "--model_dir", str(tmp_path / "model"), "--input",
            str(tmp_path / "in"), "--workers", "2", "--shard_size", str(SHARD), "--threshold", "0.4", "--output",
            str(tmp_path / "out")]


@pytest.fixture
def start():
    """``start(words)``: the job's process; none is left after the test."""
    jobs = []
    yield lambda words: jobs.append(_start(words)) or jobs[-1]
    for job in jobs:
        if job.poll() is None:
            job.kill()
            job.communicate()


def _start(words):
    environment = {**os.environ, "PYTHONPATH": str(REPO), "HOME": str(Path(words[-1]).parent)}
    return subprocess.Popen(words, cwd=Path(words[-1]).parent, env=environment, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def shards(output):
    return len(list((Path(output) / "shards").glob("*.jsonl")))


def wait_for(happens, job):
    end = time.monotonic() + PATIENCE
    while not happens():
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.02)


def workers_of(job):
    return [each for each in psutil.Process(job.pid).children(recursive=True)
            if any("MapWorker" in word for word in each.cmdline())]


def test_killed_jobs_and_workers_leave_each_picture_once(start, words):
    output = Path(words[-1])
    before = 0
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        job = start(words)
        wait_for(lambda: shards(output) > before + 2, job)  # noqa: B023  called at once
        family = [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]
        if number == signal.SIGTERM:
            reached = {each.laddr.ip for one in family for each in one.net_connections() if each.status == "LISTEN"}
            assert reached <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
        job.send_signal(number)
        _, err = job.communicate(timeout=PATIENCE)
        if number == signal.SIGTERM:
            assert job.returncode == 143 and err.splitlines()[-1].startswith("interrupted: what is done is in")
        _, alive = psutil.wait_procs(family, timeout=PATIENCE)
        assert alive == []
        before = shards(output)  # now: a worker may write a last one after the job's own end
        assert 0 < before < COUNT // SHARD, "the job was over: more pictures"
    job = start(words)
    wait_for(lambda: shards(output) > before + 2 and workers_of(job), job)
    workers_of(job)[0].kill()
    out, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 4, err  # zzz.jpg
    assert f"{COUNT - before * SHARD} are left" in out and "1 of the pictures could not be read" in out, out
    assert err == "" and "raylet" not in out.lower()
    check(output, Path(words[-1]).parent / "in")


def check(output, pictures):
    images = json.loads((output / "images.json").read_text())["images"]
    assert [image["id"] for image in images] == list(range(1, COUNT + 1))
    assert [image["file_name"] for image in images] == sorted(path.name for path in pictures.iterdir())
    assert [image["file_name"] for image in images if "error" in image] == ["zzz.jpg"]
    found = {}
    for box in json.loads((output / "bbox.json").read_text()):
        found.setdefault(box["image_id"], []).append([box["category_id"], box["score"], *box["bbox"]])
    expected = {}
    for image in images[:-1]:
        kept = [box for box in known_onnx.boxes_of(media.read_image(pictures / image["file_name"])) if box[1] >= 0.4]
        expected[image["id"]] = [[c, s, x1, y1, x2 - x1, y2 - y1] for c, s, x1, y1, x2, y2 in kept]
    assert found.keys() == expected.keys()
    for number, boxes in expected.items():
        np.testing.assert_allclose(found[number], boxes, rtol=1e-5)
    left = {path.name for path in output.iterdir()} | {path.name for path in (output / "shards").glob(".*")}
    assert left == {"manifest.json", "shards", "bbox.json", "images.json", "ray.log"}
    assert not (output.parent / ".ray").exists()  # Ray's own secret, in the home folder
