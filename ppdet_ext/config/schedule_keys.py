# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""LearningRate and OptimizerBuilder of a config: names, arguments, and schedules whose parts do not fit each other."""
from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..errors import UserError, nearest
from . import allowed, rules, values
from .calls import check_call, check_names, check_values, unknown

logger = logging.getLogger("ppdet.engine")

SCHEDULERS = "LearningRate.schedulers"
OPTIMIZER = "OptimizerBuilder.optimizer"
DECAYS, WARMUPS = ("CosineDecay", "PiecewiseDecay"), ("LinearWarmup", "ExpWarmup")
# classes of paddle.optimizer that are none to train with: a base class, and one that wants a function to call
NO_OPTIMIZERS = ("Optimizer", "LBFGS")
# arguments that come from elsewhere -> where to write them
GIVEN = {"learning_rate": "LearningRate.base_lr", "parameters": "param_groups",
         "grad_clip": "OptimizerBuilder.clip_grad_by_norm"}
CODE = ("apply_decay_param_fun", "lr_ratio")  # take a function, which no file holds


def check(cfg: Mapping[str, Any]) -> None:
    """Check schedule and optimizer of a loaded config, whose sections' own keys and values are known to be right.

    Raises:
        UserError: an unknown class or argument, a value that is not allowed, or parts that cannot work together.
    """
    _check_schedulers(_given(cfg, "LearningRate", "schedulers"))
    settings = _given(cfg, "OptimizerBuilder", "optimizer")
    if settings is not None:
        _check_optimizer(settings)


def _given(cfg, section, key):
    """What the config itself sets, without defaults."""
    value = cfg.get(section)
    return dict.get(value, key) if isinstance(value, dict) else None


def _check_schedulers(entries):
    """The decay first, and the warm-up that it asks for second."""
    if entries is None:
        return
    parts = [_scheduler(entry) for entry in entries]
    names = [name for name, _ in parts]
    if not names or names[0] not in DECAYS:
        raise UserError(f"{SCHEDULERS}: the first is {names[0] if names else 'missing'}; write {' or '.join(DECAYS)} "
                        f"first, then {' or '.join(WARMUPS)}")
    decay = dict(parts[0][1])
    if decay.get("use_warmup", True) and (len(names) < 2 or names[1] not in WARMUPS):
        raise UserError(f"{SCHEDULERS}: {names[0]} wants a warm-up as the second entry; add {WARMUPS[0]}, or set "
                        f"use_warmup: false in {names[0]}")
    if names[0] == "PiecewiseDecay":
        _check_milestones(decay)
    _check_plateau(decay)


def _scheduler(entry):
    """(class name, arguments) of an entry, in either YAML style, with names and values checked."""
    from ppdet.optimizer import optimizer as schedulers
    known = allowed.names(schedulers, allowed.is_scheduler)
    if isinstance(entry, dict):
        name, arguments = entry.get("name"), {key: value for key, value in entry.items() if key != "name"}
    else:
        name, arguments = type(entry).__name__, getattr(entry, "__dict__", {})
    if name not in known:
        raise UserError(f"{SCHEDULERS}: unknown scheduler {rules.name(name)}{nearest(name, known)}")
    check = check_call if isinstance(entry, dict) else check_values
    check(f"{SCHEDULERS}: {name}", getattr(schedulers, name), arguments)
    return name, arguments


def _check_milestones(decay):
    milestones, gamma = decay.get("milestones", [8, 11]), decay.get("gamma", [0.1, 0.01])
    if any(left >= right for left, right in zip(milestones, milestones[1:])):
        raise UserError(f"{SCHEDULERS}: PiecewiseDecay.milestones is {rules.shown(milestones)}; write epochs in rising "
                        "order, each once")
    for key, found, wanted in (("gamma", gamma, len(milestones)), ("values", decay.get("values"), len(milestones) + 1)):
        if isinstance(found, (list, tuple)) and len(found) != wanted and not (key == "gamma" and decay.get("values")):
            raise UserError(f"{SCHEDULERS}: PiecewiseDecay.{key} has {len(found)} entries for {len(milestones)} "
                            f"milestones; write {wanted}" + (", or one number" if key == "gamma" else ""))


def _check_plateau(decay):
    plateau, epochs = decay.get("last_plateau_epochs", 0), decay.get("max_epochs", 1000)
    if plateau >= epochs:
        raise UserError(f"{SCHEDULERS}: CosineDecay.last_plateau_epochs is {plateau} of max_epochs {epochs}; make it "
                        "smaller")


def _check_optimizer(settings):
    import paddle
    name = settings.get("type")
    if name == "AdamWDL":  # ppdet's own function
        return
    kinds = [kind for kind in allowed.names(paddle.optimizer, allowed.is_optimizer) if kind not in NO_OPTIMIZERS]
    if name not in kinds:
        raise UserError(f"{OPTIMIZER}: unknown type {rules.name(name)}{nearest(name, kinds)}")
    owner = getattr(paddle.optimizer, name)
    for key, place in GIVEN.items():
        if key in settings:
            raise UserError(f"{OPTIMIZER}.{key} comes from {place}; write it there")
    for key in CODE:
        if settings.get(key) is not None:
            raise unknown(f"{OPTIMIZER} ({name})", key, [])
    arguments = {key: value for key, value in settings.items() if key not in ("type", "param_groups")}
    check_names(f"{OPTIMIZER}: {name}", owner, {*arguments, "learning_rate", "parameters"})  # two come from elsewhere
    check_values(f"{OPTIMIZER}: {name}", owner, arguments)
    groups = settings.get("param_groups")
    if groups is not None:
        values.check(f"{OPTIMIZER}.param_groups", groups, values.CLASSES["*.param_groups"])
    if "weight_decay" in settings and name != "AdamW":
        logger.warning("%s.weight_decay has NO effect for %s: its decay is OptimizerBuilder.regularizer", OPTIMIZER,
                       name)
