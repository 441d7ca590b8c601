# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Machines that have other data, another checkpoint or another folder say so; their shards hold each picture once."""
import collections
import socket
import types

import numpy as np
import pytest
from ppdet.data import reader as readers

from ppdet_ext.checkpoints import stamp
from ppdet_ext.cli import prepare
from ppdet_ext.distributed import agreement, processes
from ppdet_ext.errors import UserError


@pytest.fixture
def second(monkeypatch):
    """This is process 1 of two; ``second.has`` is what the first one has, ``second.meanwhile()`` what it does then."""
    state = types.SimpleNamespace(has=[], meanwhile=lambda: None)

    def all_gather(value):
        state.meanwhile()
        return [state.has.pop(0) if state.has else value, value]
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "rank", lambda: 1)
    monkeypatch.setattr(processes, "all_gather", all_gather)
    return state


class Data(list):
    """Records of a data set."""

    @property
    def roidbs(self):
        return list(self)


def data(*names, boxes=1):
    return agreement.data_set(Data({"im_file": name, "gt_bbox": np.zeros([boxes, 4])} for name in names))


def test_a_data_set_is_its_names_order_and_boxes():
    assert data("/a/1.jpg", "/a/2.jpg") == data("/b/1.jpg", "/b/2.jpg") != data("2.jpg", "1.jpg")
    assert data("1.jpg") != data("1.jpg", boxes=2) and data("1.jpg", "2.jpg").startswith("2 pictures (")


def test_another_data_set_is_one_line(second):
    agreement.require_same("the training set", data("1.jpg"), "")
    second.has = [data("1.jpg", "2.jpg")]
    with pytest.raises(UserError, match=r"^the training set: process 0 has 2 pictures \(\w{8}\), but process 1 has 1 "
                                        r"pictures \(\w{8}\); copy it$"):
        agreement.require_same("the training set", data("1.jpg"), "copy it")


def test_another_checkpoint_is_one_line(second, tmp_path):
    checkpoint = tmp_path / "3.pdparams"
    checkpoint.write_bytes(b"")
    stamp.write(checkpoint, stamp.Stamp("abcd", 4, 40, (stamp.WEIGHTS,)))
    prepare.require_same_checkpoint(str(tmp_path / "3"))
    for own, has in ((None, "none"), (str(tmp_path / "4"), r"no file '.*4'")):
        second.has = [f"'{checkpoint}', {stamp.read(checkpoint)}"]
        with pytest.raises(UserError, match=rf"process 0 has '.*3.pdparams', epoch 3 \(step 40, run abcd\), but "
                                            rf"process 1 has {has}; let save_dir be a folder that all machines share"):
            prepare.require_same_checkpoint(own)


@pytest.mark.parametrize("shared", [True, False])
def test_a_folder_that_is_not_shared_is_noticed(second, tmp_path, shared):
    second.has = ["token"]
    second.meanwhile = (tmp_path / ".token").touch if shared else lambda: None
    assert agreement.blind(tmp_path) == ([] if shared else [0, 1])


@pytest.mark.parametrize("number, count", [(12, 2), (13, 2), (13, 3), (64, 8), (65, 64)])
@pytest.mark.parametrize("drop_last", [False, True])
def test_each_picture_is_in_one_process_once_an_epoch(monkeypatch, number, count, drop_last):
    """What ppdet's sampler adds so that all processes have as many: the first pictures of the data set, once more."""
    monkeypatch.setattr(readers, "DataLoader", lambda *args, **settings: [])
    dataset = types.SimpleNamespace(**dict.fromkeys(
        ("check_or_download_dataset", "parse_dataset", "set_transform", "set_kwargs"), lambda *args, **settings: None))
    sized = type("Sized", (), {"__len__": lambda self: number, **vars(dataset)})
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", str(count))
    shards = []
    for rank in range(count):
        monkeypatch.setenv("PADDLE_TRAINER_ID", str(rank))
        sampler = readers.TrainReader(batch_size=2, drop_last=drop_last)(sized(), 0)._batch_sampler
        shards.append([list(sampler) for _epoch in range(3)])
    added = -number % count
    for epoch in range(3):
        batches = [shard[epoch] for shard in shards]
        assert len({len(own) for own in batches}) == 1  # or one would wait for ever
        seen = collections.Counter(picture for own in batches for batch in own for picture in batch)
        assert all(times <= 1 + (picture < added) for picture, times in seen.items())
        if not drop_last:
            assert seen == collections.Counter([*range(number), *range(added)])
        else:
            assert sum(seen.values()) == -(-number // count) // 2 * 2 * count
    assert shards[0][0] != shards[0][1] or number < 2 * count  # another order in the next epoch


def test_a_machine_that_is_gone_is_noticed():
    """The system asks an idle connection's other end after 10 seconds, and gives up 15 seconds later."""
    one, other = socket.create_server(("127.0.0.1", 0)), socket.socket()
    with one, other:
        other.connect(one.getsockname())
        processes._notice_silence(other)
        assert other.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        given = {name: other.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in processes.SILENCE}
    assert given == processes.SILENCE
