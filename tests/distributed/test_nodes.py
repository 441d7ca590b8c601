# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Two launchers, as on two machines: they train as one process, both go on from a checkpoint, and end together."""
import contextlib
import os
import socket
import subprocess
import sys
import time

import psutil
import pytest
from support.parallel_runs import FIXED, compare_curves, rows_of
from support.paths import REPO

from ppdet_ext.checkpoints import stamp

SECONDS = 900  # only ends what hangs
TRAIN = [str(REPO / "tools/train.py"), "-c"]


def started(folder, log, *command):
    # an empty CUDA_VISIBLE_DEVICES makes the launcher count GPUs that are not there
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment |= {"PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    with open(log, "wb") as out:
        return subprocess.Popen([sys.executable, "-W", "ignore", *map(str, command)], cwd=folder, env=environment,
                                stdout=out, stderr=subprocess.STDOUT)


@contextlib.contextmanager
def two_nodes(folder, *command):
    """The two launchers, each with one process and its log in ``folder``/node<N>; what is left of them is killed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        master = f"127.0.0.1:{free.getsockname()[1]}"
    nodes = [started(folder, folder / f"node{rank}.txt", "-m", "paddle.distributed.launch", "--nnodes", 2,
                     "--nproc_per_node", 1, "--master", master, "--rank", rank, "--log_dir", folder / f"node{rank}",
                     *command) for rank in range(2)]
    try:
        yield nodes
    finally:
        for node in nodes:
            kill(node)


def kill(node):
    """As a machine ends that loses its power: the launcher and all that it has started, at once."""
    if node.poll() is None:
        own = psutil.Process(node.pid)
        for one in [own, *own.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        node.wait()


def wait_for(condition, what):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.multiproc
def test_two_nodes_train_as_one_process_and_end_with_each_other(tmp_path, tiny_config):
    one = started(tmp_path, tmp_path / "one.txt", *TRAIN, tiny_config, "-o", *FIXED, "save_dir=one",
                  "TrainReader.batch_size=4")
    assert one.wait(SECONDS) == 0, (tmp_path / "one.txt").read_text()
    command = [*TRAIN, tiny_config, "-r", "auto", "-o", *FIXED, "save_dir=two", "TrainReader.batch_size=2"]
    two, said = tmp_path / "two/tiny", tmp_path / "node0/workerlog.0"
    with two_nodes(tmp_path, *command) as nodes:
        assert [node.wait(SECONDS) for node in nodes] == [0, 0], said.read_text()
    compare_curves(rows_of(two), rows_of(tmp_path / "one/tiny"))
    # process 0 alone tells and writes
    silent = (tmp_path / "node1/workerlog.0").read_text()
    assert "INFO" not in silent and "Error" not in silent and stamp.newest(two)[1].epochs == 2

    with two_nodes(tmp_path, *command, "epoch=1000") as nodes:
        wait_for(lambda: any(int(path.stem) > 2 for path in two.glob("*.pdparams") if path.stem.isdecimal()),
                 "the run does not go on")
        kill(nodes[1])
        assert nodes[0].wait(60) == 3
    text = said.read_text()
    assert text.count("-r auto: goes on from") == 1 and "epoch 2, learning rate" in text
    assert {line for line in text.splitlines() if line.startswith("error:") or "Traceback (most" in line} == {
        "error: process 0 of 2: another process ended too early; its log says why (log/workerlog.N on its machine)"}
    assert stamp.newest(two)[1].epochs >= 4  # whole, and the run's
    assert not [path for path in two.iterdir() if path.name.startswith(".")]
