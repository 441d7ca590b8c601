# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Before training: what it takes, what is there; ``batch_size: auto`` is a number, and the run is that number's."""
import random
import types

import numpy as np
import paddle
import pytest
from support.trainers import trainer_of

from ppdet_ext.engine import memory_check
from ppdet_ext.errors import UserError
from ppdet_ext.measure import memory_there
from ppdet_ext.measure.memory_estimate import MIB
from ppdet_ext.measure.memory_there import MemoryThere

pytestmark = pytest.mark.skipif(paddle.__version__.startswith("2."), reason="Paddle 2.6 does not count its memory")


@pytest.fixture
def room(monkeypatch, cheap_start):
    """room(MiB): so much RAM is there, of which this process has 100."""
    monkeypatch.setattr(memory_check, "Allocations", lambda: types.SimpleNamespace(held=0))

    def give(most):
        there = MemoryThere("RAM", 2000 * MIB, 100 * MIB, (most - 100) * MIB)
        monkeypatch.setattr(memory_there, "ram", lambda: there)
    return give


def drawn():
    return float(paddle.rand([1])), np.random.rand(), random.random()


def lines(log):
    return [record.getMessage() for record in log.records if "memory" in record.getMessage()]


def test_it_is_said_and_nothing_changes(tiny_config, room, log):
    room(1900)
    trainer = trainer_of(tiny_config, ["worker_num=1"])
    state = {name: np.array(value) for name, value in trainer.model.state_dict().items()}
    for start in (random.seed, np.random.seed, paddle.seed):
        start(1)
    numbers = drawn()
    for start in (random.seed, np.random.seed, paddle.seed):
        start(1)
    memory_check.before_training(trainer)
    assert drawn() == numbers
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)
    takes, there = lines(log)
    assert "of RAM at its peak (4 images of 64x64): weights 12 MiB, optimizer 24 MiB, average (EMA) 12 MiB" in takes
    assert there == "memory: 1.9 GiB of RAM are there (the machine has 2.0 GiB); TrainReader.batch_size fits up to 64"
    log.clear()
    room(150)
    memory_check.before_training(trainer)
    warning = lines(log)[-1]
    assert warning.startswith("memory: TOO LITTLE: about ") and "150 MiB are there; no batch fits" in warning
    assert "docs/does_not_fit.md" in warning and "\n" not in warning


def test_auto_is_a_number(tiny_config, room, log):
    """The room is for about five of the eight pictures: four are taken."""
    room(1000)
    given = trainer_of(tiny_config, ["TrainReader.batch_size=1"])
    run = memory_check._try(given, given.model, given.optimizer)
    room(round(run.peak(5) / 0.85 / MIB))
    weights = []
    for size in ("auto", 4):
        for start in (random.seed, np.random.seed, paddle.seed):
            start(1)
        trainer = trainer_of(tiny_config, [f"TrainReader.batch_size={size}"])
        assert trainer.cfg["TrainReader"]["batch_size"] == 4 and len(trainer.loader) == 2
        assert trainer.facts.settings["TrainReader.batch_size"] == "4" and trainer.facts.steps_per_epoch == 2
        weights.append(({name: np.array(value) for name, value in trainer.model.state_dict().items()}, drawn()))
    assert weights[0][1] == weights[1][1]
    for name, value in weights[0][0].items():
        np.testing.assert_array_equal(value, weights[1][0][name], err_msg=name)
    assert any(line.startswith("TrainReader.batch_size: auto is 4: about ") and "64x64" in line for line in lines(log) +
               [record.getMessage() for record in log.records])


def test_where_nothing_fits_auto_ends(tiny_config, room):
    room(101)
    with pytest.raises(UserError, match="auto, but not even one image of 64x64 surely fits: about .* 101 MiB are"):
        trainer_of(tiny_config, ["TrainReader.batch_size=auto"])


@pytest.mark.parametrize("steps, size", [
    ([{"BatchRandomResize": {"target_size": [480, 800, 640]}}, {"Permute": {}}], (800, 800)),
    ([{"BatchRandomResize": {"target_size": [[480, 800], [640, 640]]}}], (640, 640)),
    ([{"RandomResize": {"target_size": 512}}], (512, 512)),
    ([{"BatchRandomResize": {"target_size": [800]}}, {"Resize": {"target_size": [64, 64]}}], (7, 9)),
    ([{"Decode": {}}], (7, 9)),
])
def test_the_largest_size_counts(steps, size):
    assert memory_check.largest_size({"sample_transforms": steps[:1], "batch_transforms": steps[1:]}, (7, 9)) == size
