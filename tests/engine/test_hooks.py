# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""ppdet's callbacks as hooks: what they are told, and its VisualDL and Weights & Biases writers at work."""
import importlib.machinery
import json
import sys
import types

import pytest
from ppdet.engine.callbacks import Callback
from support.trainers import trainer_of

from ppdet_ext.engine import hooks


class Recorder(Callback):
    """Notes what ppdet's own callbacks look at."""

    def __init__(self, trainer):
        super().__init__(trainer)
        self.calls = []

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        return lambda status: self.note(name, status)

    def note(self, name, status):
        self.calls.append((name, status["mode"]))
        self.last = dict(status)


def test_a_callback_of_ppdet_is_told_all(tiny_config):
    trainer = trainer_of(tiny_config, ["epoch=1"])
    recorder = Recorder(trainer)
    trainer.register_callbacks([recorder])
    found = {}

    def note(name, status):
        Recorder.note(recorder, name, status)
        if name == "on_step_end" and status["mode"] == "train":
            found.update(epoch=status["epoch_id"], step=status["step_id"], steps=status["steps_per_epoch"],
                         loss=float(status["training_staus"].get()["loss"]), rate=status["learning_rate"],
                         time=status["batch_time"].avg)
        if name == "on_epoch_end" and status["mode"] == "eval":
            found.update(ap=trainer._metrics[0].get_results()["bbox"][0], images=status["sample_num"],
                         seconds=status["cost_time"], best=status["save_best_model"])
    recorder.note = note
    trainer.train(validate=True)
    train, evaluation = [("on_step_begin", "train"), ("on_step_end", "train")], [("on_step_end", "eval")]
    assert recorder.calls == [("on_train_begin", "train"), ("on_epoch_begin", "train"), *train * 2,
                              ("on_epoch_end", "train"), ("on_epoch_begin", "eval"), *evaluation * 2,
                              ("on_epoch_end", "eval"), ("on_train_end", "train")]
    assert found["loss"] > 0 and found["time"] > 0 and found["seconds"] > 0 and found["ap"] == trainer.ap["AP"]
    assert [found[key] for key in ("epoch", "step", "steps", "images", "best")] == [0, 1, 2, 4, True]
    assert found["rate"] == pytest.approx(trainer.history.rows[0]["learning_rate"])


def check_metrics(trainer, record):
    """metrics.jsonl of a run of two batches whose average lags, and the same numbers in VisualDL's record."""
    rows = [json.loads(line) for line in (trainer.output / "metrics.jsonl").read_text().splitlines()]
    assert [(row["kind"], row["step"]) for row in rows] == [("train", 1), ("train", 2), ("eval", 2)]
    train, evaluation = rows[1:]
    assert set(train) == {"kind", "step", "epoch", "seconds", "images_per_second", "share", "memory", "cpu_percent",
                          "grad_norm", "lr", "loss", "update_ratio"}
    assert set(train["share"]) == {"data", "forward", "backward", "optimizer"}
    assert 0.8 < sum(train["share"].values()) <= 1.001
    assert set(train["update_ratio"]) == set(train["lr"]) == {"backbone", "neck", "transformer"}
    assert train["grad_norm"] > 0 and train["memory"]["peak_mb"] >= train["memory"]["resident_mb"] > 0
    losses = [row["loss"]["loss"] for row in rows[:2]]
    assert sum(losses) / 2 == pytest.approx(trainer.history.rows[0]["loss"], rel=1e-5)
    # the average is old, so that the raw weights are evaluated too; the report's boxes are the average's
    assert evaluation["metrics"] == trainer.ap and set(evaluation["raw"]) == set(trainer.ap)
    for tag in ("share/data", "memory/resident_mb", "lr/backbone", "update_ratio/neck", "grad_norm"):
        values = [item.value for item in record.get_data("scalar", f"watch/{tag}")]
        part, _, name = tag.partition("/")
        assert values == pytest.approx([row[part][name] if name else row[part] for row in rows[:2]], rel=1e-6)


def test_visualdl_gets_losses_ap_and_pictures(tiny_config, tmp_path, small_digits):
    reader = pytest.importorskip("visualdl").LogReader
    trainer = trainer_of(tiny_config, ["epoch=1", "use_vdl=true", f"vdl_log_dir={tmp_path / 'train'}",
                                       "ema_decay_type=normal"])
    trainer.train(validate=True)
    record = reader(file_path=str(next((tmp_path / "train").glob("*.log"))))
    losses = record.get_data("scalar", "loss")
    assert len(losses) == 2
    assert sum(item.value for item in losses) / 2 == pytest.approx(trainer.history.rows[0]["loss"], rel=0.5)
    assert record.get_data("scalar", "bbox-mAP")[0].value == pytest.approx(trainer.ap["AP"])
    check_metrics(trainer, record)

    trainer = trainer_of(tiny_config, ["use_vdl=true", f"vdl_log_dir={tmp_path / 'test'}"], mode="test")
    trainer.predict([str(small_digits / "val" / "000000.jpg")], output_dir=str(tmp_path / "seen"))
    record = reader(file_path=str(next((tmp_path / "test").glob("*.log"))))
    assert {tag for tag in record.get_tags()["image"] if "frame_0" in tag} == {"original/frame_0", "result/frame_0"}


@pytest.fixture
def wandb(monkeypatch):
    """Stands for the package wandb; ``run.logged`` and ``run.saved`` are what it was given."""
    run = types.SimpleNamespace(id="1", config={}, logged=[], saved=[], finished=0)
    run.define_metric = lambda *args, **kwargs: None
    run.log = run.logged.append
    run.log_artifact = lambda artifact, aliases: run.saved.append((artifact.path, aliases[0]))

    def finish():
        run.finished += 1
    run.finish = finish
    module = types.ModuleType("wandb")
    module.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    module.run, module.init = None, lambda **settings: run

    class Artifact:
        def __init__(self, **settings):
            self.path = None

        def add_file(self, path, name):
            self.path = path
    module.Artifact = Artifact
    monkeypatch.setitem(sys.modules, "wandb", module)
    return run


def test_wandb_gets_losses_ap_and_checkpoints(tiny_config, wandb):
    trainer = trainer_of(tiny_config, ["epoch=1", "use_wandb=true"])
    trainer.train(validate=True)
    steps = [entry for entry in wandb.logged if "train/loss" in entry]
    assert len(steps) == 2 and all(entry["train/ips"] > 0 for entry in steps)
    assert [entry["eval/bbox-mAP"] for entry in wandb.logged if "epoch" in entry] == [trainer.ap["AP"]]
    prefix = trainer.output
    assert wandb.saved == [(f"{prefix}/model_final.pdparams", "latest"), (f"{prefix}/best_model.pdparams", "best")]
    assert wandb.finished == 1 and wandb.config["epoch"] == 1


def test_the_profiler_counts_training_steps(tiny_config, monkeypatch):
    told = []
    monkeypatch.setattr(hooks.profiler, "add_profiler_step", told.append)
    trainer = trainer_of(tiny_config, ["epoch=1", "profiler_options='batch_range=[1, 2]'"])
    trainer.train(validate=True)
    assert told == ["batch_range=[1, 2]"] * 2
