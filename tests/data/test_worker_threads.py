# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""No thread of a reader is left when its epoch is over, no worker when Python ends, and a dead one is one line."""
import re

import pytest
from paddle.io.dataloader import dataloader_iter
from ppdet.core.workspace import create

from ppdet_ext import cli
from ppdet_ext.config import config_file
from ppdet_ext.data import normalization, worker_threads


def test_no_thread_of_the_last_epoch_is_left_when_the_next_workers_are_forked(tiny_config, monkeypatch):
    normalization.resolve(config_file.load(tiny_config, ["TrainReader.use_shared_memory=true"]))
    reader = create("TrainReader")(create("TrainDataset")(), 1)
    kind = type(reader.loader)
    fork, left = kind._init_workers, []

    def watched(self):
        left.append(reader.loader._thread.is_alive())
        fork(self)

    monkeypatch.setattr(kind, "_init_workers", watched)
    assert [len(list(reader)) for _ in range(2)] == [2, 2]  # 8 images in batches of 4
    assert left == [False, False]
    assert len(list(reader.loader)) == 2  # the third epoch has begun; its workers end with it


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
