# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The progress line of a run, and its train.log."""
import contextlib
import io
import logging
import os
import sys
import types

import paddle
import pytest

from ppdet_ext.engine import progress
from ppdet_ext.engine.hooks import Hook, Status, call, closing
from ppdet_ext.errors import Interrupted, UserError
from ppdet_ext.startup import quiet

log = logging.getLogger("ppdet.engine")


class Screen(io.StringIO):
    """A terminal. ``with``: it is standard output and error, and what ppdet's loggers write to."""

    def isatty(self):
        return True

    def __enter__(self):
        self.handler = logging.StreamHandler(self)
        log.addHandler(self.handler)
        self.before = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = self

    def __exit__(self, *_error):
        left = sys.stdout is sys.stderr is self
        sys.stdout, sys.stderr = self.before
        log.removeHandler(self.handler)
        assert left and self.handler.stream is self and self.handler.level == 0
        assert quiet._handler() not in log.handlers


@pytest.fixture
def screen(monkeypatch):
    """A terminal of 150 columns, whose line is drawn each time."""
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("ppdet_ext.engine.run_output.SECONDS", 0)
    quiet._lines.clear()
    yield Screen()
    quiet._lines.clear()


class Rows:
    """A history of two evaluations, the first of which is the better one."""

    rows = [{"epoch": 0, "ap": {"AP": 0.5, "AP50": 0.6}}, {"epoch": 1, "ap": {"AP": 0.25, "AP50": 0.5}}]

    def best(self):
        return self.rows[0]


def hook_of(folder, kind=None):
    cfg = {"epoch": 5, "log_iter": 2, "TrainReader": {"batch_size": 4}, "progress": kind}
    return progress.Progress(types.SimpleNamespace(output=folder, cfg=cfg, loader=range(2), evaluation_loader=range(2),
                                                   history=Rows()))


def status_of(epoch, step=0):
    status = Status(log_iter=2, epoch=epoch, step=step, steps_per_epoch=10, images=4, seconds=2.0,
                    ap={"AP": 0.25, "AP50": 0.5, "AP75": 0.1})
    status.losses.update({"loss": paddle.to_tensor(1.5)})
    status.batch_time.update(2.0)
    status.data_time.update(1.0)
    return status


def run(hook, error=None, first=None):
    """A training of two steps and an evaluation, in which others print, warn and log."""
    with closing([hook]):
        hook.before_train(first or status_of(0))
        hook.before_epoch(status_of(0))
        for step in range(2):
            hook.after_step(status_of(0, step))
        print("somebody's own", end="")
        print(" line")
        log.warning("watch: this")
        print("UserWarning: new", file=sys.stderr)
        quiet.keep("nobody's")
        hook.before_evaluation(status_of(0))
        hook.after_evaluation_step(status_of(0))
        print(" Average Precision  (AP) @[ IoU=0.50:0.95 ] = 0.250")
        hook.after_evaluation(status_of(0))
        if error:
            raise error
        hook.after_train(status_of(0))
        print("the report")
    print("after it")


PADDLES = "Epoch: [0] [ 0/10] learning_rate: 0.000000 loss: 1.500000 eta: 0:01:40 batch_cost: 2.0000 data_cost: 1.0000"
AP = " Average Precision  (AP) @[ IoU=0.50:0.95 ] = 0.250"


def test_a_terminal_gets_one_line_and_the_file_all(tmp_path, screen):
    quiet.keep("from the start")
    with screen:
        print("before it")
        run(hook_of(tmp_path))
    shown = screen.getvalue()
    line = "epoch 1/5  step 2/10  eta 0:01:38  loss 1.500  2.0 images/s  AP 0.250 (best 0.500)  "
    for part in (line, "epoch 1/5  evaluation 1/2  eta 0:00:00  AP", "epoch 1/5  loss 1.500  AP 0.250  AP50 0.500  0",
                 "somebody's own line\n", "watch: this", "UserWarning: new", "the report\n", "after it\n"):
        assert part in shown, part
    for part in ("Epoch: [0]", "Eval iter", "Total sample", "Average Precision", "nobody's", "from the start"):
        assert part not in shown, part
    written = (tmp_path / "train.log").read_text()
    for part in ("from the start\n", f"INFO: {PADDLES}", "\nsomebody's own line\n", "WARNING: watch: this",
                 "\nnobody's\n", "UserWarning: new", "INFO: Eval iter: 0", AP, "\nthe report\n",
                 "INFO: Total sample number: 4, average FPS: 2.0"):
        assert written.count(part) == 1, part
    assert "before it" not in written and "after it" not in written and "epoch 1/5" not in written
    assert "\x1b" not in written


def test_elsewhere_the_lines_are_paddledetections_and_in_the_file_too(tmp_path, screen):
    with screen:
        run(hook_of(tmp_path, "plain"))
    for part in (PADDLES, "somebody's own line\n", "Eval iter: 0", AP, "watch: this", "the report\n"):
        assert screen.getvalue().count(part) == 1 and (tmp_path / "train.log").read_text().count(part) == 1, part
    assert "\x1b" not in screen.getvalue() and "step 2/10" not in screen.getvalue()


@pytest.mark.parametrize("error, said", [
    (UserError("the loss became nan"), ["error: the loss became nan"]), (KeyboardInterrupt(), ["interrupted"]),
    (Interrupted("saved; to go on: -r auto"), ["saved; to go on: -r auto"]),
    (ValueError("odd"), ["ValueError: odd"])])
def test_an_error_ends_the_line_and_the_file(tmp_path, screen, error, said):
    with screen, pytest.raises(type(error)):
        run(hook_of(tmp_path), error)
    written = (tmp_path / "train.log").read_text()
    assert written.splitlines()[-1:] == said and ("Traceback" in written) == isinstance(error, ValueError)
    assert screen.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # the cursor is back, the line is gone


def test_a_resumed_run_goes_on_with_the_file_and_a_new_one_begins_it(tmp_path, screen):
    for (epoch, step), count in (((0, 0), 1), ((2, 0), 2), ((0, 3), 3), ((0, 0), 1)):
        with screen:
            run(hook_of(tmp_path, "plain"), first=status_of(epoch, step))
        assert (tmp_path / "train.log").read_text().count("the report") == count


def test_errors_go_where_the_user_sends_them(tmp_path, screen):
    """With ``2> file`` warnings go into that file, not to the terminal."""
    elsewhere = io.StringIO()
    with screen, contextlib.redirect_stderr(elsewhere):
        hook = hook_of(tmp_path)
        with closing([hook]):
            hook.before_train(status_of(0))
            print("a warning", file=sys.stderr)
    assert elsewhere.getvalue() == "a warning\n" and "a warning" not in screen.getvalue()
    assert "a warning" in (tmp_path / "train.log").read_text()


def test_an_evaluations_result_comes_after_its_line(tmp_path, screen):
    with screen:
        hook = hook_of(tmp_path)
        with closing([hook]):
            hook.before_evaluation(status_of(0))
            for step in range(2):
                assert hook.output.has_line
                hook.after_evaluation_step(status_of(0, step))
            log.info("mAP(0.50, 11point) = 85.2%")
            hook.after_evaluation(status_of(0))
    assert "evaluation 1/2" in screen.getvalue() and "mAP(0.50, 11point)" in screen.getvalue()
    assert not (tmp_path / "train.log").exists()


def test_counted_parts(screen):
    with screen, progress.counted("evaluation", 4, "rich") as tell:
        tell(2)
        print("in between")
    assert "evaluation 2/4  eta 0:00:00" in screen.getvalue() and "in between\n" in screen.getvalue()


@pytest.mark.parametrize("kind, terminal, term, line", [
    (None, True, "xterm", True), ("auto", False, "xterm", False), ("auto", True, "dumb", False),
    ("plain", True, "xterm", False), ("rich", False, "xterm", True)])
def test_who_gets_a_line(kind, terminal, term, line, screen, monkeypatch):
    monkeypatch.setattr(screen, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", term)
    with screen:
        assert progress.has_line(kind) == line
        monkeypatch.setattr(progress.processes, "rank", lambda: 1)
        assert not progress.has_line(kind)


def test_other_processes_say_and_write_nothing(tmp_path, screen, monkeypatch):
    monkeypatch.setattr(progress.processes, "rank", lambda: 1)
    with screen:
        hook = hook_of(tmp_path)
        for point in ("before_train", "after_step", "after_train"):
            call([hook], point, status_of(0))
    assert not screen.getvalue() and not list(tmp_path.iterdir())


def test_a_readers_worker_writes_to_the_terminal_itself(tmp_path, screen):
    hook = hook_of(tmp_path, "plain")
    with screen, closing([hook, Hook()]):
        hook.before_train(status_of(0))
        process = os.fork()
        if process == 0:
            sys.stdout.write("of a worker\n")
            os._exit(screen.getvalue().count("of a worker\n"))
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 1
    assert "of a worker" not in (tmp_path / "train.log").read_text()
