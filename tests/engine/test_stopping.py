# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Signals, early stopping and keep_checkpoints: when a run ends, what it leaves, and what it must not touch."""
import logging
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import paddle
import psutil
import pytest
from paddle import nn
from support.paths import REPO

from ppdet_ext import files
from ppdet_ext.checkpoints import stamp
from ppdet_ext.cli import prepare
from ppdet_ext.distributed import processes
from ppdet_ext.engine import checkpointer
from ppdet_ext.engine.accumulation import GradientAccumulation
from ppdet_ext.engine.early_stopping import EarlyStopping
from ppdet_ext.engine.history import History
from ppdet_ext.engine.hooks import Hook, Status
from ppdet_ext.engine.loop import TrainingLoop
from ppdet_ext.engine.stopping import StopRequest
from ppdet_ext.errors import Interrupted, UserError


# ---------------------------------------------------------------- signals
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_noted(number, code, capfd):
    request, before = StopRequest(), [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with request.listening():
        assert not request.agreed()
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)  # Paddle's launcher sends three
        assert request.agreed() and request.code == code
    assert capfd.readouterr().err.count("Ctrl-C again ends at once") == 1
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_ends_at_once():
    with StopRequest().listening():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def two(monkeypatch):
    """This is one of two processes; ``two.meanwhile()`` happens while they ask each other, ``two.other`` answers."""
    state = types.SimpleNamespace(meanwhile=lambda: None, other=0)

    def all_reduce_max(number, wait=True):
        state.meanwhile()
        return max(number, state.other)
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "all_reduce_max", all_reduce_max)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)}
    yield state
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_that_comes_while_processes_ask_each_other_is_not_lost(two):
    request = StopRequest()
    two.meanwhile = lambda: os.kill(os.getpid(), signal.SIGTERM)
    with request.listening():
        assert not request.agreed()  # the other has had its answer
        two.meanwhile = lambda: None
        assert request.agreed() and request.code == 143


@pytest.mark.parametrize("own", [False, True])
def test_workers_may_die_once_processes_have_agreed(two, own):
    """Paddle's handler of SIGCHLD would raise in the midst of the checkpoint; its signal comes later than the other's.
    """
    request, seen = StopRequest(), []
    with request.listening():
        signal.signal(signal.SIGCHLD, lambda *_: seen.append("Paddle's"))
        two.other = signal.SIGTERM
        assert request.agreed()
        if own:
            signal.signal(signal.SIGCHLD, lambda *_: seen.append("Paddle's, of the next workers"))
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGCHLD)
    os.kill(os.getpid(), signal.SIGTERM)  # the launcher's third: the last line is not written yet
    assert seen == [] and request.code == 143


class Batches(list):
    """A reader of batches; None stands for one that cannot be read."""

    dataset = types.SimpleNamespace(set_epoch=lambda epoch: None)

    def __iter__(self):
        for batch in super().__iter__():
            if batch is None:
                raise SystemError("a worker has died")
            yield dict(batch)


class Ending(Batches):
    """Fails once all are read."""

    def __iter__(self):
        yield from super().__iter__()
        raise SystemError("a worker has died")


class Line(nn.Layer):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs):
        return {"loss": (self.layer(inputs["x"]) ** 2).mean()}


def run(batches, every=1, at=None, first=0, done=0, evaluate=None):
    """A run of two epochs with Ctrl-C after batch ``at`` (epoch, step): (what hooks saw, the error's line)."""
    model, seen = Line(), []
    schedule = paddle.optimizer.lr.ExponentialDecay(0.1, 0.5)
    optimizer = paddle.optimizer.SGD(schedule, parameters=model.parameters())

    class Seen(Hook):
        def after_step(self, status):
            seen.append((status.epoch, status.step))
            if seen[-1] == at:
                os.kill(os.getpid(), signal.SIGINT)

        def before_stop(self, status):
            seen.append(("stop", status.batches))
            status.saved = "there"
    batches = batches if isinstance(batches, Batches) else Batches(batches)
    loop = TrainingLoop(model, batches, optimizer, schedule, GradientAccumulation(len(batches), every),
                        hooks=[Seen()], evaluate=evaluate)
    with pytest.raises(Interrupted) as end:
        loop.run(first, 2, done)
    return seen, str(end.value)


def test_a_signal_ends_the_run_between_two_groups_of_batches():
    batch = {"x": paddle.ones([1, 1])}
    assert run([batch] * 4, at=(0, 1)) == (
        [(0, 0), (0, 1), ("stop", 2)],
        "interrupted after epoch 0, step 2; saved as 'there'; to go on: the same command with -r auto")
    assert run([batch] * 5, every=3, at=(0, 1))[0][-1] == ("stop", 3)
    # at an epoch's end after its evaluation; a reader whose workers heard the signal, too
    evaluated = []
    assert run([batch] * 2, at=(0, 1), evaluate=lambda: evaluated.append(1))[0][-1] == ("stop", 0) and evaluated == [1]
    assert run([batch, batch, None], at=(0, 1))[0][-1] == ("stop", 2)
    # its workers are ended while they begin the next epoch, or while they read for the evaluation
    assert run(Ending([batch] * 2), at=(0, 1), evaluate=lambda: 1 / 0)[0] == [(0, 0), (0, 1), ("stop", 0)]
    # batches of the interrupted run are read and left
    assert run([batch] * 4, at=(1, 3 - 1), first=1, done=2)[0] == [(1, 2), ("stop", 3)]


def test_what_a_reader_raises_in_the_midst_of_a_group_is_raised():
    with pytest.raises(SystemError, match="worker has died"):
        run([{"x": paddle.ones([1, 1])}, None], every=2, at=(0, 0))


# ---------------------------------------------------------------- early stopping
def trainer_of_rows(tmp_path, scores, **settings):
    cfg = {"early_stopping": settings or None, "metric": "COCO", "epoch": 20}
    trainer = types.SimpleNamespace(output=tmp_path, cfg=cfg, end_epoch=20)
    trainer.history = History(trainer)
    trainer.history.rows = [{"epoch": epoch, "ap": ap} for epoch, ap in enumerate(scores)]
    return trainer


def ends(tmp_path, scores, **settings):
    trainer, status = trainer_of_rows(tmp_path, scores, **settings), Status(epoch=len(scores) - 1)
    EarlyStopping(trainer).after_evaluation(status)
    return status.ends_early


def test_evaluations_without_a_better_one_end_the_run(tmp_path, log):
    log.set_level(logging.INFO)
    rising = [{"AP": ap, "AP50": 0.5} for ap in (0.1, 0.2, 0.3)]
    assert ends(tmp_path, rising, patience=2) == "" == ends(tmp_path, rising) == ends(tmp_path, [], patience=1)
    # an equal one is not better; an epoch without evaluation, or with nothing to find, does not count
    assert ends(tmp_path, rising, patience=2, metric="AP50") == \
        "AP50 has not risen for 2 evaluations (patience: 2); the best is 0.500 at epoch 0"
    assert ends(tmp_path, [{"AP": 0.1}, None, {"AP": None}, {"AP": 0.1}], patience=2) == ""
    assert "training ends after epoch 2 (of 20 epochs, from 0)" in log.text
    with pytest.raises(UserError, match=r"nothing is left to train: AP50 .*; for more: -o early_stopping.patience=4"):
        EarlyStopping(trainer_of_rows(tmp_path, rising, patience=2, metric="AP50")).before_train(Status())


def test_the_metric_decides_which_is_best(tmp_path):
    scores = [{"AP": 0.3, "AP50": 0.4}, {"AP": 0.2, "AP50": 0.5}]
    assert trainer_of_rows(tmp_path, scores).history.best()["epoch"] == 0
    assert trainer_of_rows(tmp_path, scores, metric="AP50").history.best()["epoch"] == 1
    voc = types.SimpleNamespace(output=tmp_path, cfg={"metric": "VOC"})
    assert History(voc).metric == "AP50"
    voc.cfg["early_stopping"] = {"metric": "AP"}
    with pytest.raises(UserError, match="early_stopping.metric is AP, but 'metric: VOC' measures AP50; write AP50"):
        History(voc)


# ---------------------------------------------------------------- which checkpoints stay
def small_trainer(folder, monkeypatch, **cfg):
    """Enough of a trainer for a Checkpointer; its model has one weight."""
    model = Line()
    optimizer = paddle.optimizer.AdamW(parameters=model.parameters())
    trainer = types.SimpleNamespace(
        output=folder, cfg={"epoch": 9, "snapshot_epoch": 1, "metric": "COCO", **cfg}, model=model, optimizer=optimizer,
        run=os.urandom(4).hex(), resumed=(), facts=None, lr=types.SimpleNamespace(last_epoch=0),
        weights_to_save=lambda: (model.state_dict(), model.state_dict()))
    trainer.history = History(trainer)
    monkeypatch.setattr(checkpointer.resume_state, "random_of_all", lambda trainer: [])
    monkeypatch.setattr(checkpointer.resume_state, "collect", lambda trainer, random: {})
    return trainer


def epochs(trainer, scores, first=0, last=9):
    """What a Checkpointer does in a run with these APs, from epoch ``first`` on."""
    hook, status = checkpointer.Checkpointer(trainer), Status()
    hook.before_train(status)
    for status.epoch, ap in enumerate(scores, first):
        trainer.lr.last_epoch += 1
        trainer.model.layer.bias.set_value(paddle.to_tensor([float(status.epoch)]))
        hook.after_epoch(status)
        trainer.history.rows.append({"epoch": status.epoch, "ap": {"AP": ap}})
        hook.after_evaluation(status)
    return hook, status


def names(folder):
    return sorted(path.stem for path in folder.glob("*.pdparams"))


@pytest.mark.parametrize("kept, left", [(None, ["7", "6"]), (0, []), (3, ["5", "6", "7"]), ("all", list("01234567"))])
def test_the_newest_checkpoints_stay(tmp_path, monkeypatch, kept, left):
    trainer = small_trainer(tmp_path, monkeypatch, **({} if kept is None else {"keep_checkpoints": kept}))
    hook, status = epochs(trainer, [0.1, 0.5, *[0.2] * 7])
    hook.after_train(status)
    assert names(tmp_path) == sorted([*left, "best_model", "model_final"])
    assert len(list(tmp_path.iterdir())) == 3 * len(names(tmp_path))
    best = stamp.check(tmp_path / "best_model.pdparams", stamp.SUFFIXES)
    assert best.epochs == 2 and float(paddle.load(str(tmp_path / "best_model.pdema"))["layer.bias"]) == 1


def test_an_older_one_goes_after_the_newer_is_whole(tmp_path, monkeypatch):
    trainer = small_trainer(tmp_path, monkeypatch, keep_checkpoints=1)
    epochs(trainer, [0.5])

    def full_disk(value, path):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(paddle, "save", full_disk)
    with pytest.raises(UserError, match="No space left"):
        epochs(trainer, [0.6], first=1)
    assert names(tmp_path) == ["0", "best_model"]


def test_what_was_there_before_stays(tmp_path, monkeypatch):
    first = small_trainer(tmp_path, monkeypatch, keep_checkpoints=1)
    hook, _ = epochs(first, [0.5, 0.6])
    hook.before_stop(Status(epoch=2, batches=3))
    (tmp_path / "mine.pdparams").write_bytes(b"mine")
    assert names(tmp_path) == ["1", "best_model", "interrupted", "mine"]
    # another run in the same folder; then the user puts a file of his own in the place of one of its checkpoints
    second = small_trainer(tmp_path, monkeypatch, keep_checkpoints=1)
    hook, _ = epochs(second, [0.1, 0.2], first=3)
    (tmp_path / "4.pdparams").write_bytes(b"mine")
    hook.after_epoch(Status(epoch=5))
    assert names(tmp_path) == sorted(["1", "4", "5", "mine", "best_model", f"best_model_of_{first.run}",
                                      f"interrupted_of_{first.run}"])


def test_a_run_that_ends_early_has_a_last_checkpoint(tmp_path, monkeypatch):
    hook, status = epochs(small_trainer(tmp_path, monkeypatch), [0.5, 0.4])
    hook.after_train(status)
    last, newest = (os.stat(tmp_path / f"{name}.pdparams") for name in ("model_final", "1"))
    assert last.st_ino == newest.st_ino and stamp.newest(tmp_path)[1].epochs == 2


def test_equal_files_are_one_file_where_that_can_be(tmp_path, monkeypatch):
    for suffix in (".a", ".b"):
        (tmp_path / f"one{suffix}").write_text(suffix)
    for _ in range(2):  # the second time the name stands for the same file already
        files.link_set(tmp_path / "one", tmp_path / "two", [".a", ".b"])
    assert os.stat(tmp_path / "two.b").st_ino == os.stat(tmp_path / "one.b").st_ino

    def no_links(source, target):
        raise PermissionError(1, "Operation not permitted")
    monkeypatch.setattr(os, "link", no_links)
    files.link_set(tmp_path / "one", tmp_path / "three", [".a", ".b"])
    assert os.stat(tmp_path / "three.b").st_nlink == 1 and (tmp_path / "three.b").read_text() == ".b"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}{suffix}" for name in ("one", "three", "two") for suffix in (".a", ".b")]


# ---------------------------------------------------------------- -r auto
def test_auto_takes_the_newest_whole_checkpoint(tmp_path, monkeypatch, log):
    log.set_level(logging.INFO)
    cfg = {"save_dir": str(tmp_path), "filename": "run"}
    folder = tmp_path / "run"
    assert prepare.newest_checkpoint(cfg) is None
    assert f"there is no checkpoint in '{folder}': training starts from the beginning" in log.text
    epochs(small_trainer(folder, monkeypatch), [0.5] * 5)  # an older run got further
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    hook, _ = epochs(small_trainer(folder, monkeypatch), [0.1, 0.2])
    assert prepare.newest_checkpoint(cfg) == str(folder / "best_model.pdparams")  # the same file as 1
    hook.trainer.lr.last_epoch += 1
    hook.before_stop(Status(epoch=2, batches=3))
    assert prepare.newest_checkpoint(cfg) == str(folder / "interrupted.pdparams")
    assert "goes on from" in log.text and "epoch 2, batch 3 (step 3, run" in log.text
    (folder / "interrupted.pdopt").unlink()  # not whole
    os.utime(folder / "0.pdparams")  # copied without its time: steps decide within a run
    assert Path(prepare.newest_checkpoint(cfg)).stem in ("1", "best_model")
    for path in folder.glob("*.pdopt"):
        path.unlink()
    with pytest.raises(UserError, match=r"none of the checkpoints in .* is whole.*; name one \(-r .*/0.pdparams"):
        prepare.newest_checkpoint(cfg)


# ---------------------------------------------------------------- whole runs
def wait_for_steps(folder, number):
    """Until a run has measured itself this many times."""
    end = time.time() + 240
    while sum('"train"' in line for line in _lines(folder / "metrics.jsonl")) < number:
        assert time.time() < end, "the run makes no steps"
        time.sleep(0.05)


def _lines(path):
    return path.read_text().splitlines() if path.is_file() else []


def started(command, log, **settings):
    with open(log, "wb") as file:
        return subprocess.Popen([sys.executable, "-W", "ignore", *command], stdout=file, stderr=subprocess.STDOUT,
                                env={**os.environ, "PYTHONPATH": str(REPO)}, **settings)


LONG = ["-o", "epoch=200", "worker_num=2", "TrainReader.batch_size=1", "snapshot_epoch=100"]


@pytest.mark.slow
def test_ctrl_c_goes_to_all_and_auto_goes_on(tiny_config, tmp_path):
    """As a terminal sends it: to the reader's workers, too. Then -r auto, and SIGTERM to the main process alone."""
    folder, log = tmp_path / "output/tiny", tmp_path / "log.txt"
    command = ["-m", "ppdet_ext.cli", "train", "-c", str(tiny_config)]
    run = started([*command, *LONG], log, start_new_session=True)
    wait_for_steps(folder, 12)
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(60) == 130
    place, mark = stamp.newest(folder)
    said = [line for line in log.read_text().splitlines() if "Ctrl-C again" in line or "same command" in line]
    assert len(said) == 2 and place.stem == "interrupted" and "Traceback" not in log.read_text()
    assert said[1].endswith(f"saved as '{folder / 'interrupted'}'; to go on: the same command with -r auto")

    run = started([*command, "-r", "auto", *LONG], log)
    wait_for_steps(folder, mark.step + 4)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 143 and f"goes on from '{place}', {mark}" in log.read_text()
    assert stamp.newest(folder)[1].step > mark.step and stamp.newest(folder)[1].facts.resumed == (mark.run,)


@pytest.mark.slow
@pytest.mark.multiproc
@pytest.mark.parametrize("to", ["one", "launcher"])
def test_all_processes_stop_at_one_step(tiny_config, tmp_path, to):
    """The signal comes to one of them; or to the launcher, which sends it on three times, and to readers' workers, too.
    """
    log = tmp_path / "log.txt"
    run = started(["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log"),
                   str(REPO / "tools/train.py"), "-c", str(tiny_config), *LONG], log, cwd=tmp_path)
    wait_for_steps(tmp_path / "output/tiny", 5)
    ranks = [child for child in psutil.Process(run.pid).children() if "train.py" in " ".join(child.cmdline())]
    by_rank = {child.environ().get("PADDLE_TRAINER_ID"): child for child in ranks}
    if to == "one":
        by_rank["1"].send_signal(signal.SIGTERM)
    else:
        run.send_signal(signal.SIGINT)
    assert run.wait(120) != 0
    logs = [_lines(tmp_path / f"log/workerlog.{rank}") for rank in range(2)]
    ends = [[line.partition(": ")[2] for line in lines if "interrupted after" in line] for lines in logs]
    assert ends[0] == ends[1] and len(ends[0]) == 1, ends
    assert stamp.newest(tmp_path / "output/tiny")[0].stem == "interrupted"
