# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Workers are forked while no other reader is at work, none is left when Python ends, and a dead one is one line."""
import random
import re
import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest
from paddle.io.dataloader import dataloader_iter
from ppdet.core.workspace import create

from ppdet_ext import cli
from ppdet_ext.config import config_file
from ppdet_ext.data import normalization, worker_threads


@pytest.fixture
def readers(tiny_config):
    """(training's reader, an evaluation's), as Trainer makes them; a function of their number of workers."""
    normalization.resolve(config_file.load(tiny_config, ["TrainReader.use_shared_memory=true"]))
    made = []

    def make(workers):
        for kind in ("Train", "Eval"):
            made.append(create(f"{kind}Reader")(create(f"{kind}Dataset")(), workers))
        return made[-2:]
    yield make
    for reader in made:
        worker_threads.stop(reader.loader)


@pytest.fixture
def reading():
    """A function: threads that take batches, of all readers that this test has made."""
    before = set(threading.enumerate())
    return lambda: [thread for thread in threading.enumerate()
                    if thread not in before and getattr(thread._target, "__name__", "") == "_thread_loop"]


def test_no_worker_is_forked_beside_a_reader_at_work(readers, reading, monkeypatch):
    kind = dataloader_iter._DataLoaderIterMultiProcess
    fork, beside = kind._init_workers, []

    def watched(self):
        beside.append(len(reading()))
        fork(self)

    monkeypatch.setattr(kind, "_init_workers", watched)
    train, evaluation = readers(1)
    for _ in range(2):  # 8 images in batches of 4, then an evaluation
        assert (len(list(train)), len(list(evaluation))) == (2, len(evaluation))
    assert beside == [0, 0, 0, 0]
    next(train)
    assert len(reading()) == 1  # it can be seen here


@pytest.mark.parametrize("workers", [0, 1])
def test_a_reader_that_begins_later_draws_the_same_random_numbers(readers, workers):
    def epochs(draws):
        random.seed(1), np.random.seed(1)
        train, _ = readers(workers)
        [random.random() for _ in range(draws)], np.random.rand(draws)
        return [np.stack([batch["image"].numpy() for batch in train]) for _ in range(2)]
    first, second = epochs(0)
    assert np.array_equal(first, epochs(3)[0]) and not np.array_equal(first, second)


def test_a_reader_that_is_stopped_gives_no_more(readers, reading):
    train, _ = readers(1)
    worker_threads.stop(train.loader)
    assert list(train) == [] and not reading()
    next(train)  # of the next epoch
    worker_threads.stop(train.loader)
    assert list(train) == [] and not reading()


RUN = """
import sys, time
from ppdet.core.workspace import create
import ppdet_ext
ppdet_ext.setup()
from ppdet_ext.config import config_file
from ppdet_ext.data import normalization
normalization.resolve(config_file.load(sys.argv[1], ["TrainReader.use_shared_memory=true"]))
reader = create("TrainReader")(create("TrainDataset")(), 2)
next(reader)
print(*[worker.pid for worker in reader.loader.batches._workers], flush=True)
time.sleep(600)
"""


@pytest.mark.slow(reason="it imports Paddle in a process of its own")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a process with its parent")
def test_workers_end_with_a_process_that_is_killed(tiny_config):
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tiny_config)], stdout=subprocess.PIPE, text=True)
    try:
        line = next(line for line in process.stdout if re.fullmatch(r"\d+ \d+\n", line))
    finally:
        process.kill()
        process.wait()
    workers = [psutil.Process(int(pid)) for pid in line.split() if psutil.pid_exists(int(pid))]
    assert psutil.wait_procs(workers, timeout=60)[1] == []


def test_interval_is_never_made_longer():
    assert dataloader_iter.MP_STATUS_CHECK_INTERVAL == worker_threads.INTERVAL
    assert worker_threads.look_often(0.01) == 0.01


DIED = "(Fatal) DataLoader process (pid 12927) exited "
CAUSES = {
    "is killed by signal: Killed. (at /paddle/data_loader.cc:185)": r"early \(Killed\): the memory was full",
    "is killed by signal: Bus error. (at x)": r"early \(Bus error\): shared memory is full",
    "is killed by signal: Segmentation fault. (at x)": r"early \(Segmentation fault\): -o worker_num=0 reads",
    "unexpectedly with code 1. Error detailed are lost.\n  1. If": r"early \(exit code 1\): -o worker_num=0",
}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_worker_that_dies_is_one_line(cause, capsys):
    def fail():
        raise SystemError(DIED + cause)

    with pytest.raises(SystemExit) as left:
        cli.run(fail)
    line, = capsys.readouterr().err.splitlines()
    assert left.value.code == 2 and re.search(f"^error: a process that reads data ended too {CAUSES[cause]}", line)


def test_what_is_no_dead_worker_stays_what_it_is():
    for error in (SystemError("(Fatal) something else"), ValueError(DIED + "unexpectedly with code 1")):
        assert worker_threads.why_died(error) == ""
