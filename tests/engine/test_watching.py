# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a run measures of itself, against plain computations; its file; and that training stays as it is."""
import json
import random
import types

import numpy as np
import paddle
import pytest
from paddle import nn
from support.trainers import trainer_of

from ppdet_ext.engine import measurements, metrics_file, phases
from ppdet_ext.engine.metrics_file import MetricsFile
from ppdet_ext.engine.watch_rules import RULES
from ppdet_ext.measure.memory_there import MemoryThere


class Parts(nn.Layer):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1D(4))
        self.neck = nn.Linear(4, 2)
        self.frozen = nn.Linear(2, 2)
        for parameter in self.frozen.parameters():
            parameter.stop_gradient = True

    def forward(self, x):
        return self.frozen(self.neck(self.backbone(x)))


@pytest.fixture
def model():
    return Parts()


def test_the_norm_is_that_of_all_gradients(model):
    assert measurements.gradient_norm(model.parameters()) == 0
    (1024 * model(paddle.rand([5, 3])).sum()).backward()
    wanted = np.sqrt(sum((p.grad.numpy().astype("float64") ** 2).sum() for p in model.parameters()
                         if p.grad is not None))
    assert measurements.gradient_norm(model.parameters(), 1024.0) == pytest.approx(wanted / 1024, rel=1e-5)


def test_updates_are_measured_by_part(model, monkeypatch):
    parts = measurements.learning_parts(model)
    assert list(parts) == ["backbone", "neck"]  # what is frozen does not learn
    updates = measurements.Updates(parts)
    assert updates.ratios() == {}
    updates.before()
    with paddle.no_grad():
        model.backbone[0].weight.set_value(model.backbone[0].weight * 1.01)
    assert updates.ratios() == {"backbone": pytest.approx(0.01, rel=1e-3), "neck": 0.0}
    assert updates.ratios() == {}  # nothing is kept
    monkeypatch.setattr(measurements, "NUMBERS", 4)
    updates.before()
    assert [tensor.shape for tensor in updates._before["backbone"]] == [[1, 4]]  # of 3 rows of 4 numbers


def test_statistics_of_batch_norm_grow(model):
    statistics = measurements.Statistics(model)
    assert statistics.growth()[0] == 1.0
    model.backbone[1]._variance.set_value(np.array([1, 50, 2, 1], "float32"))
    assert statistics.growth() == (50.0, "backbone.1")
    model.backbone[1]._mean.set_value(np.array([1, np.nan, 2, 1], "float32"))
    assert statistics.growth() == (np.inf, "backbone.1")
    assert measurements.Statistics(nn.Linear(2, 2)).growth() == (0.0, "")


def test_what_is_free_decides_the_share(monkeypatch):
    there = MemoryThere("RAM", 8000 * measurements.MB, 10 * measurements.MB, 30 * measurements.MB)
    monkeypatch.setattr(measurements.memory_there, "ram", lambda: there)
    monkeypatch.setattr(measurements.memory_there, "gpu", lambda: there)
    assert measurements.share_taken({"resident_mb": 10}) == pytest.approx(0.25)
    assert measurements.share_taken({"resident_mb": 10, "gpu_mb": 4000}) == pytest.approx(0.5)


def test_phases_count_only_when_asked_and_wait_for_a_device(monkeypatch):
    waited = []
    monkeypatch.setattr(phases, "works_later", lambda: True)
    monkeypatch.setattr(paddle.device, "synchronize", lambda: waited.append(1))
    clock = phases.Phases()
    with clock.of("forward"):
        pass
    assert clock.seconds == {} and not waited  # steps that are not measured do not wait
    clock.counting = True
    for _ in range(2):
        with clock.of("forward"):
            pass
    assert list(clock.seconds) == ["forward"] and clock.seconds["forward"] > 0 and len(waited) == 4


# ---------------------------------------------------------------- the file
def test_lines_are_strict_json_and_a_resumed_run_goes_on(tmp_path):
    file = MetricsFile(tmp_path / "a")
    file.begin()
    for step in (1, 2, 3):
        file.write({"kind": "train", "step": step, "loss": {"loss": float("nan")}, "norm": np.float32(2.5)})
    lines = (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()
    assert lines[0] == '{"kind": "train", "step": 1, "loss": {"loss": null}, "norm": 2.5}'
    with open(file.path, "a") as handle:
        handle.write('[1]\n{"step": "x"}\n{"kind": "tra')  # cut off by a kill
    other = MetricsFile(tmp_path / "b")
    for folder, resumed in (("a", file), ("a", other), ("none", MetricsFile(tmp_path / "c"))):
        resumed.begin(tmp_path / folder, up_to=2)
        resumed.write({"kind": "train", "step": 3})
        steps = [line["step"] for line in metrics_file.read(resumed.path)]
        assert steps == ([3] if folder == "none" else [1, 2, 3])
    assert list(metrics_file.read(tmp_path / "nowhere")) == []


def test_a_full_disk_costs_lines_and_no_training(tmp_path, log):
    file = MetricsFile(tmp_path)
    file.path = tmp_path / "nowhere" / "metrics.jsonl"
    for _ in range(2):
        file.write({"kind": "train", "step": 1})
    assert [record.message for record in log.records if "cannot be written" in record.message] == [
        f"'{file.path}' cannot be written (No such file or directory); the training goes on without it"]


# ---------------------------------------------------------------- a run
def rows_of(trainer):
    return [json.loads(line) for line in (trainer.output / "metrics.jsonl").read_text().splitlines()]


def test_a_run_with_and_without_watching_is_the_same_to_the_bit(tiny_config):
    weights = {}
    for watch in ("true", "false"):
        for seed in (paddle.seed, np.random.seed, random.seed):
            seed(7)
        trainer = trainer_of(tiny_config, ["epoch=1", f"watch={watch}", f"save_dir={tiny_config.parent / watch}"])
        trainer.train()
        weights[watch] = {name: value.numpy() for name, value in trainer.model.state_dict().items()}
        assert (trainer.output / "metrics.jsonl").exists() == (watch == "true")
    different = [name for name, value in weights["true"].items() if not np.array_equal(value, weights["false"][name])]
    assert not different


def test_rules_speak_once(tmp_path, log):
    from ppdet_ext.engine.watching import Watching
    trainer = types.SimpleNamespace(output=tmp_path)
    watching = Watching(trainer)
    watching.sight.run.average_age = 1.0
    for _ in range(3):
        watching._apply("start")
    assert [line["rule"] for line in metrics_file.read(tmp_path / "metrics.jsonl")] == ["average_lags"]
    assert len([record for record in log.records if record.message.startswith("watch: ")]) == 1
    assert "average_lags" in {rule.name for rule in RULES}


@pytest.mark.slow
@pytest.mark.parametrize("arch, options, said", [
    ("resnet18", [], []), ("convnext_atto", [], []), ("vit_tiny_patch16_224", ["TimmBackbone.adapter=simple_fpn",
                                                                               "TimmBackbone.img_size=64"], []),
    # a rate that is a hundred times too high, and one that hardly is there
    ("resnet18", ["OptimizerBuilder.optimizer.param_groups=[{params: ['backbone'], learning_rate: 100.}]"],
     ["backbone_rate_high"]),
    ("resnet18", ["OptimizerBuilder.optimizer.param_groups=[{params: ['backbone'], learning_rate: 0.001}]"],
     ["backbone_rate_low"]),
    ("resnet18", ["OptimizerBuilder.optimizer.param_groups=[{params: ['backbnoe'], learning_rate: 0.1}]"],
     ["empty_group"]),
    ("resnet18", ["ema_decay_type=normal"], ["average_lags"]),
])
def test_real_runs_are_told_what_is_wrong_and_nothing_else(tiny_config, arch, options, said):
    options = [f"TimmBackbone.arch={arch}", "epoch=10", "snapshot_epoch=10", *options]
    trainer = trainer_of(tiny_config, options)
    trainer.train()
    assert [row["rule"] for row in rows_of(trainer) if row["kind"] == "warning"] == said
