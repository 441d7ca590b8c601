# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""When a reader's epoch is over no thread of it is left that could hold a lock while the next workers are forked."""
from paddle.io.dataloader import dataloader_iter
from ppdet.core.workspace import create

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
