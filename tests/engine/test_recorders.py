# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""TensorBoard and MLflow get a run's numbers and its end; a package that is missing is one line."""
import importlib.machinery
import sys
import types

import paddle
import pytest

from ppdet_ext.checkpoints.facts import Facts
from ppdet_ext.engine import recorders
from ppdet_ext.engine.hooks import Status
from ppdet_ext.errors import Interrupted, UserError


def trainer_of(folder, *keys):
    cfg = {**dict.fromkeys(keys, True), "TrainReader": {"batch_size": 4}, "filename": "tiny",
           "mlflow": {"experiment": "digits", "tags": {"who": "me"}}}
    return types.SimpleNamespace(cfg=cfg, mode="train", output=folder, run="ab12", facts=Facts(settings={"epoch": "3"}))


def run(trainer, error=None):
    """Two steps, one of them to be written, an evaluation, a line of metrics.jsonl, and the end."""
    hooks, status = recorders.asked_for(trainer), Status(log_iter=2, steps_per_epoch=2, learning_rate=0.5)
    for hook in hooks:
        hook.before_train(status)
    for status.step in range(2):
        status.losses.update({"loss": paddle.to_tensor(3.0 + status.step)})
        status.batch_time.update(2.0)
        for hook in hooks:
            hook.after_step(status)
    status.ap = {"AP": 0.25, "AP_small": None}
    for hook in hooks:
        hook.after_evaluation(status)
    for write in recorders.scalars_of(hooks):
        write({"watch/share/data": 0.125}, 2)
    for hook in hooks:
        hook.close(error)


WANTED = {"train/loss": 3.5, "train/learning_rate": 0.5, "train/images_per_second": 2.0, "eval/AP": 0.25,
          "watch/share/data": 0.125}


@pytest.fixture
def mlflow(monkeypatch):
    """Stands for the package; ``calls`` is what it was told."""
    module = types.ModuleType("mlflow")
    module.__spec__ = importlib.machinery.ModuleSpec("mlflow", None)
    module.calls = []
    for name in ("set_experiment", "start_run", "log_params", "log_metrics", "end_run"):
        setattr(module, name, lambda *values, name=name, **named: module.calls.append((name, *values, named)))
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


@pytest.mark.parametrize("error, state", [(None, "FINISHED"), (Interrupted("Ctrl-C"), "KILLED"),
                                          (UserError("a full disk"), "FAILED")])
def test_mlflow_gets_settings_numbers_and_the_end(mlflow, tmp_path, error, state):
    run(trainer_of(tmp_path, "use_mlflow"), error)
    first, begin, settings, *written, end = mlflow.calls
    assert first == ("set_experiment", "digits", {})
    assert begin == ("start_run", {"run_name": "tiny", "tags": {"who": "me"}})
    assert settings == ("log_params", {"run": "ab12", "epoch": "3"}, {})
    assert {name: value for _, values, _ in written for name, value in values.items()} == WANTED
    assert all(named == {"step": 2} for *_, named in written) and end == ("end_run", state, {})


def test_one_that_fails_ends_no_run(mlflow, tmp_path, log, monkeypatch):
    def no_server(*values, **named):
        raise OSError("no\nserver")
    monkeypatch.setattr(mlflow, "log_metrics", no_server)
    run(trainer_of(tmp_path, "use_mlflow"))
    assert log.text.count("use_mlflow: it failed, and gets nothing more of this run (OSError: no server)") == 1
    monkeypatch.setattr(mlflow, "start_run", no_server)
    with pytest.raises(UserError, match=r"use_mlflow: it cannot begin \(OSError: no server\); mend that, or -o use_ml"):
        run(trainer_of(tmp_path, "use_mlflow"))


@pytest.mark.slow
def test_tensorboard_reads_the_numbers_back(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(trainer_of(tmp_path, "use_tensorboard"))
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = found.Tags()
    values = {tag: [(item.step, item.value) for item in found.Scalars(tag)] for tag in tags["scalars"]} or \
        {tag: [(item.step, float(item.tensor_proto.float_val[0])) for item in found.Tensors(tag)]
         for tag in tags["tensors"]}
    assert values == {name: [(2, value)] for name, value in WANTED.items()}


@pytest.mark.parametrize("row", recorders.RECORDERS, ids=lambda row: row.key)
def test_a_missing_package_is_one_line(tmp_path, monkeypatch, row):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"{row.key} needs {row.module}: pip install .*{row.module}"):
        recorders.asked_for(trainer_of(tmp_path, row.key))
