# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Schedules that do nothing or cannot work, said before a model is made; what is said is what ppdet's schedule does."""
import logging

import pytest
from ppdet.core.workspace import global_config
from ppdet.optimizer.optimizer import CosineDecay, ExpWarmup, LearningRate, LinearWarmup, PiecewiseDecay
from support.paths import REPO
from support.tiny import TINY
from support.trainers import trainer_of

from ppdet_ext.config import config_file
from ppdet_ext.engine import schedule_checks, trainer
from ppdet_ext.errors import UserError

STEP = dict(gamma=[0.1], milestones=[8])


def warm(steps, **settings):
    return LinearWarmup(steps=steps, start_factor=settings.pop("start_factor", 0.001), **settings)


def said(log, schedulers, epochs=12, per_epoch=6):
    log.clear()
    schedule_checks.check(schedulers, epochs, per_epoch)
    for record in log.records:
        assert record.levelno == logging.WARNING and "\n" not in record.getMessage()
        assert record.getMessage().startswith("LearningRate.schedulers: ")
    return [record.getMessage() for record in log.records]


def rates(schedulers, epochs, per_epoch):
    """The learning rate of each step, of base_lr 1."""
    schedule = LearningRate(1.0, schedulers)(per_epoch)
    found = []
    for _ in range(epochs * per_epoch):
        found.append(schedule.get_lr())
        schedule.step()
    return found


FINE = [
    ([PiecewiseDecay(**STEP), warm(10)], 12, 6),
    ([PiecewiseDecay(**STEP, use_warmup=False)], 12, 6),
    ([PiecewiseDecay(gamma=1.0, milestones=[100]), warm(10)], 72, 6),  # RT-DETR's constant rate
    ([PiecewiseDecay(gamma=0.1, milestones=[36], use_warmup=False)], 36, 6),  # a milestone that means none
    ([PiecewiseDecay(gamma=0.1, milestones=[8, 11], use_warmup=False)], 12, 6),
    ([PiecewiseDecay(values=[1.0, 0.5], milestones=[8], use_warmup=False)], 12, 6),
    ([CosineDecay(max_epochs=12), warm(10)], 12, 6),
    ([CosineDecay(max_epochs=360), LinearWarmup(epochs=5)], 300, 6),  # PP-YOLOE
    ([CosineDecay(max_epochs=12, last_plateau_epochs=2, use_warmup=False)], 12, 6),
]


@pytest.mark.parametrize("schedulers, epochs, per_epoch", FINE)
def test_nothing_is_said_of_good_ones(log, schedulers, epochs, per_epoch):
    assert said(log, schedulers, epochs, per_epoch) == []


WARNED = {
    "the warm-up of 2000 steps is longer than the run (30 epochs of 6 steps = 180 steps), which ends at 9% of base_lr; "
    "write steps: 18 in LinearWarmup": ([PiecewiseDecay(gamma=1.0, milestones=[100]), warm(2000)], 30, 6),
    "the warm-up of 180 steps is longer than the run (10 epochs of 6 steps = 60 steps), which ends at 11% of base_lr; "
    "write steps: 6 in ExpWarmup": ([PiecewiseDecay(gamma=1.0, milestones=[100]), ExpWarmup(epochs=30)], 10, 6),
    "the warm-up of 40 steps takes most of the run (12 epochs of 6 steps = 72 steps); write steps: 7 in LinearWarmup":
        ([PiecewiseDecay(**STEP), warm(40)], 12, 6),
    "LinearWarmup has NO effect: PiecewiseDecay says use_warmup: false":
        ([PiecewiseDecay(**STEP, use_warmup=False), warm(5)], 12, 6),
    "LinearWarmup has NO effect: one decay and one warm-up are used":
        ([PiecewiseDecay(**STEP), warm(5), warm(5)], 12, 6),
    "the warm-up begins ABOVE base_lr, at 3 times it; start_factor is a share such as 0.001":
        ([PiecewiseDecay(**STEP), warm(5, start_factor=3.0)], 12, 6),
    "milestones [50, 66] come after the last epoch (12) and have NO effect; they are epochs, not steps: as steps they "
    "would be about epochs [8, 11]": ([PiecewiseDecay(gamma=[0.1, 0.01], milestones=[50, 66]), warm(5)], 12, 6),
    "milestones [90] come after the last epoch (12) and have NO effect":
        ([PiecewiseDecay(gamma=[0.1, 0.01], milestones=[8, 90]), warm(5)], 12, 6),
    "milestones [2] lie within the warm-up (30 steps, 6 in an epoch), so base_lr itself is never used; write later "
    "ones, or a shorter warm-up": ([PiecewiseDecay(gamma=[0.1], milestones=[2]), warm(30)], 12, 6),
    "milestone 0 means that base_lr itself is never used; write a later one":
        ([PiecewiseDecay(gamma=[0.1], milestones=[0], use_warmup=False)], 12, 6),
    "gamma 0.5 means the factors [0.5, 0.05, 0.005] on base_lr at the milestones [3, 6, 9], a tenth at each further "
    "one; write a list for others: gamma: [0.5, 0.25, 0.125]":
        ([PiecewiseDecay(gamma=0.5, milestones=[3, 6, 9], use_warmup=False)], 12, 6),
    "gamma [0.1, 0.1] are factors on base_lr, not on the rate before, so that the rate does not fall at each of the "
    "milestones [8, 11]": ([PiecewiseDecay(gamma=[0.1, 0.1], milestones=[8, 11]), warm(5)], 12, 6),
    "CosineDecay is made for 1000 epochs, of which 12 run: the rate hardly falls; write max_epochs: 12 in it":
        ([CosineDecay(), warm(5)], 12, 6),
    "CosineDecay ends after 6 of 12 epochs, and then the rate stays at 0 times base_lr; write max_epochs: 12 in it":
        ([CosineDecay(max_epochs=6), warm(5)], 12, 6),
    "CosineDecay ends after 6 of 12 epochs, and then the rate RISES again to base_lr; write max_epochs: 12 in it":
        ([CosineDecay(max_epochs=6, use_warmup=False)], 12, 6),
    "the warm-up of 30 steps takes all 30 steps of CosineDecay, which then does nothing; write a shorter one":
        ([CosineDecay(max_epochs=12, last_plateau_epochs=7), warm(30)], 12, 6),
}


@pytest.mark.parametrize("words", WARNED)
def test_one_line_for_what_will_hardly_be_meant(log, words):
    assert said(log, *WARNED[words]) == [f"LearningRate.schedulers: {words}"]


def test_what_is_said_is_what_the_schedule_does():
    """The shares and the rise that lines speak of, from ppdet's own schedules."""
    linear, exponential, hidden, tenths, rising = (rates(*WARNED[words]) for words in WARNED if any(
        part in words for part in ("is longer", "lie within", "RISES", "gamma 0.5")))
    assert max(linear) == pytest.approx(0.09, abs=0.005) and max(exponential) == pytest.approx(0.11, abs=0.005)
    assert max(hidden) < 1.0
    assert min(rising) < 1e-3 and rising[-1] > 0.95
    assert [tenths[epoch * 6] for epoch in (3, 6, 9)] == pytest.approx([0.5, 0.05, 0.005])


def test_every_row_has_a_case_of_its_own(log, monkeypatch):
    """Without its row, a case is silent: no other row says the same."""
    table = schedule_checks.TABLE
    spoken = set()
    for row in table:
        monkeypatch.setattr(schedule_checks, "TABLE", (row,))
        spoken |= {row} if row.fatal or any(said(log, *case) for case in WARNED.values()) else set()
    assert spoken == set(table)


def test_values_leave_no_room_for_a_warm_up(tmp_path, small_digits, monkeypatch):
    """ppdet would raise a ValueError, after the model is made."""
    path = tmp_path / "tiny.yml"
    path.write_text(TINY.format(configs=REPO / "configs", data=small_digits, output=tmp_path / "out").replace(
        "gamma: 0.1, milestones: [1], use_warmup: true", "values: [0.1, 0.01], milestones: [1]"))
    made = []
    create = trainer.create
    monkeypatch.setattr(trainer, "create", lambda name: made.append(name) or create(name))
    with pytest.raises(UserError, match="^LearningRate.schedulers: PiecewiseDecay.values leave no room for a warm-up; "
                                        "write gamma .factors on base_lr., or use_warmup: false$"):
        trainer_of(path)
    assert made and "DETR" not in made


def test_the_trainer_counts_steps_as_the_optimizer_does(tmp_path, small_digits, cheap_start, log):
    """8 pictures in batches of 2, of which 2 count as one step: 2 steps in an epoch."""
    path = tmp_path / "tiny.yml"
    path.write_text(TINY.format(configs=REPO / "configs", data=small_digits, output=tmp_path / "out").replace(
        "LinearWarmup {steps: 2}", "LinearWarmup {steps: 50}"))
    trainer_of(path, ["TrainReader.batch_size=2", "accumulate_steps=2"])
    assert "the warm-up of 50 steps is longer than the run (2 epochs of 2 steps = 4 steps)" in log.text


@pytest.mark.parametrize("path", sorted((REPO / "configs").glob("*.yml")), ids=lambda path: path.stem)
def test_the_projects_own_configs(path, log):
    """At their own length, on sets as large as theirs (the quick ones: 400 pictures)."""
    config_file.load(path)
    schedulers = LearningRate(**global_config["LearningRate"]).schedulers
    batch = global_config["TrainReader"]["batch_size"]
    assert said(log, schedulers, global_config["epoch"], (400 if "quick" in path.stem else 118_000) // batch) == []
