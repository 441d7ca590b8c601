# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Memory estimated before it is taken: counted against what a step really takes, and what is there under cgroups."""
import types

import numpy as np
import paddle
import psutil
import pytest
from paddle import nn

from ppdet_ext import kernels
from ppdet_ext.measure import memory_estimate, memory_there
from ppdet_ext.measure.memory_estimate import MIB, RunMemory
from ppdet_ext.measure.memory_profile import Allocations, ImageMemory, profile
from ppdet_ext.measure.memory_there import MemoryThere
from ppdet_ext.nn import recomputed

pytestmark = pytest.mark.skipif(paddle.__version__.startswith("2."), reason="Paddle 2.6 does not count its memory")
GROUP = "limits/job"


class Net(nn.Layer):
    """Convolutions over large maps, then a product with many weights; the middle may be recomputed."""

    def __init__(self, channels=8, hidden=8, recompute=False, frozen=False):
        super().__init__()
        self.recompute = recompute
        self.stem = nn.Conv2D(3, channels, 3, padding=1)
        self.middle = nn.Sequential(*(layer for _ in range(8) for layer in (
            nn.Conv2D(channels, channels, 3, padding=1), nn.BatchNorm2D(channels), nn.ReLU(), nn.Dropout(0.1))))
        self.head = nn.Sequential(nn.Linear(channels, hidden), *(nn.Linear(hidden, hidden) for _ in range(6)))
        for parameter in self.stem.parameters() if frozen else ():
            parameter.stop_gradient = True

    def forward(self, batch):
        x = self.stem(batch["image"])
        x = recomputed(self.middle, [self.middle], x) if self.recompute else self.middle(x)
        return {"loss": self.head(x.mean([2, 3])).sum()}


def image(count, side=48):
    return {"image": paddle.to_tensor(np.random.rand(count, 3, side, side).astype("float32"))}


def real_peak(net, images):
    """Bytes that a step's two passes take at most."""
    batch, memory = image(images), Allocations()
    before = memory.held
    net(batch)["loss"].backward()
    peak = memory.peak - before
    for parameter in net.parameters():
        parameter.clear_gradient(False)
    return peak


@pytest.mark.parametrize("settings", [
    {}, dict(recompute=True), dict(hidden=200), dict(hidden=200, recompute=True),
    dict(frozen=True)], ids=lambda settings: " ".join(settings) or "plain")
@kernels.enabled()
def test_the_peak_of_more_images_is_told_from_one(settings):
    net = Net(**settings).train()
    found = profile(net, image(1))
    for images in (1, 3):
        assert found.peak(images) == pytest.approx(real_peak(net, images), rel=0.15)
    assert found.peak(4, gradients_stay=True) == pytest.approx(4 * found.activations + found.gradients)


def test_a_trial_leaves_no_trace():
    net = Net(recompute=True)
    net.eval()
    before = {name: np.array(value) for name, value in net.state_dict().items()}
    batch = image(1)
    paddle.seed(7)
    profile(net, batch)
    drawn = float(paddle.rand([1]))
    paddle.seed(7)
    assert drawn == float(paddle.rand([1]))
    assert not net.training and not net.middle.training
    assert all(parameter.grad is None for parameter in net.parameters())
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(before[name], value, err_msg=name)


def one_image(**changes):
    return ImageMemory(**{**dict(height=100, width=100, points=((10 * MIB, 0), (2 * MIB, 30 * MIB)), weights=40 * MIB,
                                 trained=30 * MIB, gradients=30 * MIB), **changes})


def test_the_parts_are_those_of_the_run(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    run = RunMemory(one_image(), "AdamW", average=True, workers=2, process=500 * MIB)
    parts = {name: round(count / MIB) for name, count in run.parts(4).items()}
    assert parts == {"weights": 40, "optimizer": 60, "average (EMA)": 40,
                     "activations and gradients": round(40 * memory_estimate.HOLES),
                     "process": 500 + round(memory_estimate.COMPILED / MIB),
                     "readers": round((2 * memory_estimate.READER + 2 * 5 * 4 * 120000) / MIB) + 140}
    assert run.peak(4) == sum(run.parts(4).values())
    gpu = RunMemory(one_image(), "Momentum", on_gpu=True)
    assert {name: count / MIB for name, count in gpu.parts(1).items()} == {
        "weights": 40, "optimizer": 30, "activations and gradients": 32}
    many = RunMemory(one_image(), "SGD", on_gpu=True, accumulates=True, masters=True, evaluation=500 * MIB)
    assert many.parts(1) == {"weights": 40 * MIB, "optimizer": 30 * MIB, "activations and gradients": 500 * MIB}
    assert many.parts(100)["activations and gradients"] == 1030 * MIB


@pytest.mark.parametrize("there, most, fits", [(10_000, 64, 64), (10_000, 10, 8), (400, 64, 24), (160, 64, 2),
                                               (150, 64, 0)])
def test_the_batch_that_fits_has_something_to_spare(there, most, fits):
    run = RunMemory(one_image(), "AdamW", on_gpu=True)
    room = MemoryThere("GPU memory", there * MIB, 0, there * MIB)
    assert run.largest(room, most) == fits
    if fits:
        assert run.peak(fits) <= (1 - memory_estimate.SPARE) * there * MIB


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of 1000 MiB, 600 free, this process with 100; put(version 1 or 2) makes its cgroups."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(total=1000 * MIB, available=600 * MIB))
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: types.SimpleNamespace(rss=100 * MIB))
    monkeypatch.setattr(memory_there, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory_there, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.delenv("PADDLE_LOCAL_SIZE", raising=False)

    def put(version, path, limit, used, cache=0):
        top = tmp_path / "cgroup" / ("memory" if version == 1 else "")
        folder = top / path
        folder.mkdir(parents=True, exist_ok=True)
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file") if version == 1 else (
            "memory.max", "memory.current", "inactive_file")
        (folder / names[0]).write_text(f"{limit}\n")
        (folder / names[1]).write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cache}\n")
        (tmp_path / "own").write_text(f"4:memory:/{GROUP}\n1:cpu:/\n" if version == 1 else f"0::/{GROUP}\n")
    return put


def mib(there):
    return there.total // MIB, there.held // MIB, there.free // MIB, there.group


def test_without_a_group_it_is_the_machines(machine, monkeypatch):
    assert mib(memory_there.ram()) == (1000, 100, 600, False)
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "2")
    assert mib(memory_there.ram()) == (1000, 100, 300, False) and memory_there.ram().most == 400 * MIB


@pytest.mark.parametrize("version", [1, 2])
def test_a_groups_limit_counts_with_what_it_can_give_back(machine, version):
    machine(version, GROUP, 300 * MIB, 250 * MIB, cache=40 * MIB)
    assert mib(memory_there.ram()) == (300, 100, 90, True)
    machine(version, "", 200 * MIB, 150 * MIB)  # the group above it has less
    assert mib(memory_there.ram()) == (200, 100, 50, True)


@pytest.mark.parametrize("limit", ["max", 9223372036854771712, "strange"])
def test_no_limit_is_none(machine, limit):
    machine(2, GROUP, limit, 250 * MIB)
    assert mib(memory_there.ram()) == (1000, 100, 600, False)


def test_in_a_container_the_top_is_its_own(machine, tmp_path):
    machine(2, "", 300 * MIB, 250 * MIB)
    (tmp_path / "own").write_text("0::/docker/of/the/host\n")
    assert mib(memory_there.ram()) == (300, 100, 50, True)
