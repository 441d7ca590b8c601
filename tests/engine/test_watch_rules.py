# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Every rule on measurements that provoke it, and on ones near by that must not."""
import copy
import re
from pathlib import Path

import pytest
from support.paths import REPO

from ppdet_ext.engine import measurements, watch_rules
from ppdet_ext.engine.recorders import RECORDERS
from ppdet_ext.engine.watch_rules import RECENT, RULES, Reading, Run, Sight

LINE = {"step": 0, "share": {"data": 0.05, "forward": 0.4, "backward": 0.5, "optimizer": 0.05}, "cpu_percent": 150.0,
        "memory": {"resident_mb": 4000, "peak_mb": 5000}, "grad_norm": 20.0, "loss": {"loss": 30.0},
        "update_ratio": {"backbone": 3e-4, "neck": 1e-3, "transformer": 1e-3}}
RUN = {"workers": 2, "processors": 8, "batch_size": 4, "clip_norm": 0.1, "warm_up": 100,
       "average": "exponential", "decay": 0.9999, "average_age": 0.2, "parts": ("backbone", "neck", "transformer")}


def sight_of(run=(), reading=(), line=(), losses=(40.0, 20.0), boxes=(), evaluation=None, count=2 * RECENT):
    """``count`` intervals of 20 batches; the loss and its terms of boxes go from the first to the second value, in the
    warm-up."""
    sight = Sight(Run(**{**RUN, **dict(run)}))
    for number in range(count):
        values = copy.deepcopy(LINE)
        values.update(copy.deepcopy(dict(line)), step=20 * (number + 1))
        now = int(number >= 5)
        values["loss"] = {"loss": losses[now], "loss_class": 30.0}
        if boxes:
            values["loss"].update(loss_bbox=boxes[now], loss_giou=1.0)
        sight.add(Reading(values, **dict(reading)))
    sight.evaluation = evaluation or {"metrics": {"AP": 0.3}, "raw": {"AP": 0.4}}
    return sight


def share(data):
    return {"share": {**LINE["share"], "data": data}}


def ratio(backbone):
    return {"update_ratio": {**LINE["update_ratio"], "backbone": backbone}}


# rule -> what provokes it, a word of its advice, and what must not
CASES = {
    "data_bound": ({"line": share(0.5)}, "try worker_num: 4 (it is 2)", [{"line": share(0.25)}]),
    "memory": ({"reading": {"memory_taken": 0.92}}, "TrainReader.batch_size: 2 with accumulate_steps: 2",
               [{"reading": {"memory_taken": 0.88}}]),
    "loss": ({"losses": (40.0, 39.5)}, "(40, now 39.5 at step 400)",
             [{"losses": (40.0, 38.0)}, {"losses": (40.0, 39.5), "count": 15},  # too early to say
              {"losses": (40.0, 39.5), "run": {"warm_up": 250}},
              {"losses": (40.0, 39.5), "boxes": (10.0, 5.0)},  # the classes' terms aim at better boxes
              {"losses": (40.0, 44.0), "run": {"has_weights": True}}]),
    "clipping": ({"run": {"adaptive": False}}, "clip_grad_by_norm to about 20",
                 [{"run": {"adaptive": False, "clip_norm": 3.0}}, {"run": {"adaptive": False, "clip_norm": None}}, {}]),
    "backbone_rate_high": ({"line": ratio(0.03)}, "multiply it by about 0.03", [
        {"line": ratio(0.008)}, {"line": ratio(0.03), "run": {"pretrained": False}}]),
    "backbone_rate_low": ({"line": ratio(5e-6)}, "multiply it by about 20", [
        {"line": ratio(2e-5)}, {"line": ratio(5e-6), "reading": {"rate": 0.1}},  # at a tenth of its rate
        {"line": {"update_ratio": {"neck": 1e-3}}, "run": {"parts": ("neck",)}}]),  # it does not learn
    "batch_norm": ({"reading": {"growth": 2e4, "layer": "backbone.bn1"}}, "'backbone.bn1' have grown 2e+04 times",
                   [{"reading": {"growth": 900.0, "layer": "backbone.bn1"}}]),
    "empty_group": ({"run": {"empty_groups": ["backbnoe"]}}, "names begin with backbone, neck", [{}]),
    "idle_part": ({"reading": {"idle": ["neck"]}}, "no parameter of neck gets a gradient", [{}]),
    "average_lags": ({"run": {"average": "normal", "average_age": 0.45}}, "450 steps old", [{}]),
    "average_below_raw": ({"evaluation": {"step": 610, "metrics": {"AP": 0.1}, "raw": {"AP": 0.4}}},
                          "lower ema_decay", [
        {"evaluation": {"metrics": {"AP": 0.0}, "raw": {"AP": 0.01}}}, {"evaluation": {"metrics": {"AP": 0.1}}},
        {"evaluation": {"metrics": {"AP": None}, "raw": {"AP": None}}},
        {"evaluation": {"step": 590, "metrics": {"AP": 0.1}, "raw": {"AP": 0.4}}}]),  # 3 x 200 steps
}


def found(sight):
    """{rule: its line}."""
    return {rule.name: rule.text(sight) for rule in RULES if rule.found(sight)}


def test_every_rule_has_its_case():
    assert list(CASES) == [rule.name for rule in RULES]
    assert {rule.when for rule in RULES} == {"start", "step", "evaluation"}


@pytest.mark.parametrize("name", CASES)
def test_a_rule_speaks_alone_and_says_what_to_do(name):
    provoked, advice, _ = CASES[name]
    lines = found(sight_of(**provoked))
    assert list(lines) == [name]
    assert advice in lines[name] and "\n" not in lines[name]


@pytest.mark.parametrize("name", CASES)
def test_a_rule_is_silent_near_by(name):
    for silent in CASES[name][2]:
        assert found(sight_of(**silent)) == {}, silent


def test_nothing_is_said_before_there_are_readings():
    rules = [rule for rule in RULES if rule.when != "step"]
    assert not [rule.name for rule in rules if rule.found(Sight(Run(**RUN)))]
    assert found(sight_of(count=1)) == {}


@pytest.mark.parametrize("run, line, advice", [
    ({"workers": 0}, share(0.5), "try worker_num: 1 (it is 0)"),
    ({"workers": 2}, share(0.9), "try worker_num: 8 (it is 2)"),  # 20, but there are 8 processors
    ({"workers": 8}, share(0.5), "store smaller pictures"),
    ({"workers": 2}, {**share(0.5), "cpu_percent": 760.0}, "store smaller pictures"),
])
def test_workers_are_advised_as_far_as_there_are_processors(run, line, advice):
    assert advice in found(sight_of(run, line=line))["data_bound"]


def test_a_batch_of_one_cannot_be_halved():
    text = found(sight_of({"batch_size": 1}, {"memory_taken": 0.95}))["memory"]
    assert "take smaller pictures" in text
    on_gpu = {"memory": {**LINE["memory"], "gpu_mb": 70000}}
    assert "the GPU's memory is 95% full" in found(sight_of(reading={"memory_taken": 0.95}, line=on_gpu))["memory"]


@pytest.mark.parametrize("kind, steps, age", [
    ("threshold", 1000, 0.1), ("exponential", 1000, 0.001), ("exponential", 30000, 0.245), ("normal", 1000, 0.49),
    ("normal", 200_000, 0.05),
])
def test_the_age_of_an_average_is_that_of_its_weights(kind, steps, age):
    assert measurements.average_age(kind, 0.9999, steps) / steps == pytest.approx(age, rel=0.05, abs=1e-3)
    # and the ordinary kinds lag in no run
    assert kind == "normal" or age < watch_rules.OLD


def test_the_age_is_what_an_average_does():
    """An average of the step's number is the number of the last step less the age."""
    import math
    average, total = 0.0, 0.0
    for step in range(50):
        decay = 0.9 * (1 - math.exp(-(step + 1) / 2000)) if step else 0.0
        average, total = decay * average + (1 - decay) * step, decay * total + 1 - decay
    assert 49 - average / total == pytest.approx(measurements.average_age("exponential", 0.9, 50), rel=1e-3)


@pytest.mark.parametrize("page", ["watching.md", "watching_cn.md"])
def test_the_page_lists_the_rules(page):
    text = (Path(REPO) / "docs" / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    recorders = [row.key for row in RECORDERS]
    assert rows == ["train", "eval", "warning", *recorders, *CASES, "not_finite"]
