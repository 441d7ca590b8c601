# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A training run's part of a page: curves, resources and warnings, out of curves.json's rows and metrics.jsonl.

A line of metrics.jsonl is an object. Its "kind" is train, eval or warning. A resumed run may do a step again: its last
line counts.
"""
from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import figures
from .page import Picture, Words

MOST_LINES = 10  # in one figure
WARNINGS = 50
NAN = float("nan")


@dataclass(frozen=True)
class RunPart:
    """What the template shows: figures of training and of resources, (words, value) pairs, (step, message) pairs."""

    curves: list[Picture] = field(default_factory=list)
    resource_curves: list[Picture] = field(default_factory=list)
    resources: list[tuple[Words, Any]] = field(default_factory=list)
    warnings: list[tuple[Any, str]] = field(default_factory=list)


def _latest(lines):
    """The lines in the order of their steps, of each step, kind and rule the last one."""
    found = {(line.get("kind"), line["step"], line.get("rule")): line for line in lines}
    return sorted(found.values(), key=lambda line: line["step"])


def run_part(rows: Sequence[Mapping[str, Any]], metrics: Iterable[Mapping[str, Any]]) -> RunPart:
    """Figures, numbers and warnings.

    Args:
        rows: of curves.json, an epoch each.
        metrics: the lines of metrics.jsonl; each has a whole number as "step".
    """
    metrics = _latest(metrics)
    train, evaluated, warnings = ([line for line in metrics if line.get("kind") == kind]
                                  for kind in ("train", "eval", "warning"))
    warned = [(line["step"], str(line.get("message", ""))) for line in warnings]
    return RunPart([*_training(rows, train, evaluated)], [*_resources(train)], _numbers(rows, train),
                   warned[-WARNINGS:])


def _training(rows, train, evaluated):
    loss = _over_steps(train, "loss") or _over_epochs(rows)
    if loss:
        loss = {**{name: loss[name] for name in ("loss",) if name in loss}, **loss}  # the sum is never left out
        yield _picture(loss, ("Loss", "损失"), "step" if train else "epoch", bottom=0)
    ap = _ap(rows, evaluated)
    if ap:
        yield _picture(ap, ("AP on the evaluation set", "验证集 AP"), "epoch", bottom=0, top=1, marker="o")
    rates = _over_steps(train, "lr") or _column(rows, "learning_rate")
    if rates:
        yield _picture(rates, ("Learning rate", "学习率"), "step" if train else "epoch", bottom=0)
    norm = _over_steps(train, "grad_norm")
    if norm:
        yield _picture(norm, ("Norm of the gradients", "梯度范数"), "step", log=True)
    ratio = _over_steps(train, "update_ratio")
    if ratio:
        yield _picture(ratio, ("Size of an update against the weights", "更新量与权重之比"), "step", log=True)


def _resources(train):
    for key, title, settings in (
            ("images_per_second", ("Images a second", "每秒图片数"), {"bottom": 0}),
            ("share", ("Where a step's time goes", "每步时间的分配"), {"bottom": 0, "top": 1}),
            ("memory", ("Memory, MiB", "内存 (MiB)"), {"bottom": 0}),
            ("cpu_percent", ("CPU use, %", "CPU 占用 (%)"), {"bottom": 0})):
        series = _over_steps(train, key)
        if series:
            yield _picture(series, title, "step", **settings)


def _picture(series, title, xlabel, **settings):
    return Picture.of(figures.lines(dict(list(series.items())[:MOST_LINES]), xlabel, **settings), title)


def _number(value):
    return float(value) if isinstance(value, (int, float)) else NAN


def _over_steps(train, key):
    """{name: (steps, values)} of a number, or of a dict of numbers; names without a number are left out."""
    steps = [entry["step"] for entry in train]
    dicts = [entry[key] if isinstance(entry.get(key), dict) else {key: entry.get(key)} for entry in train]
    names = dict.fromkeys(name for one in dicts for name in one)
    series = {str(name): (steps, [_number(one.get(name)) for one in dicts]) for name in names}
    return {name: given for name, given in series.items() if any(not math.isnan(value) for value in given[1])}


def _column(rows, key):
    values = [_number(row.get(key)) for row in rows]
    return {key.replace("_", " "): ([row["epoch"] + 1 for row in rows], values)} if values else {}


def _over_epochs(rows):
    names = dict.fromkeys(name for row in rows for name in row.get("losses") or {})
    epochs = [row["epoch"] + 1 for row in rows]
    terms = {name: (epochs, [_number((row.get("losses") or {}).get(name)) for row in rows]) for name in names}
    return {**_column(rows, "loss"), **terms}


def _ap(rows, evaluated):
    """AP, AP50 and AP75 of each evaluation, and AP of the raw weights where these were evaluated, too."""
    series = figures.rated(rows)
    if not series:
        series = figures.rated([{"epoch": entry.get("epoch", 0), "ap": entry.get("metrics")} for entry in evaluated])
    raw = figures.rated([{"epoch": entry.get("epoch", 0), "ap": entry["raw"]} for entry in evaluated
                         if entry.get("raw")])
    return {**series, **({"AP, raw weights": raw["AP"]} if "AP" in raw else {})}


def _numbers(rows, train):
    """Pairs of words and a value: the whole run in numbers."""
    def over(key: str, how: Callable[[list[float]], float], inside: str = "") -> float | None:
        values = [_number((entry.get(key) or {}).get(inside) if inside else entry.get(key)) for entry in train]
        values = [value for value in values if not math.isnan(value)]
        return how(values) if values else None

    pairs = [
        (("epochs", "轮数"), len(rows) or None),
        (("training time without evaluations", "训练时间 (不含评估)"),
         _duration(sum(_number(row.get("seconds")) for row in rows))),
        (("images a second, median", "每秒图片数，中位数"), over("images_per_second", statistics.median)),
        (("share of time spent on data", "读数据的时间占比"), over("share", statistics.median, "data")),
        (("peak memory, MiB", "内存峰值 (MiB)"), over("memory", max, "peak_mb")),
        (("GPU memory, MiB", "GPU 显存 (MiB)"), over("memory", max, "gpu_mb")),
        (("CPU use, median %", "CPU 占用中位数 (%)"), over("cpu_percent", statistics.median)),
    ]
    return [(words, value) for words, value in pairs if value is not None]


def _duration(seconds):
    if math.isnan(seconds) or not seconds:
        return None
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
