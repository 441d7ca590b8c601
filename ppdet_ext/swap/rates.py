# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Learning rates after a swap: what was kept is warmed up, the backbone moves as its start needs.

``lr: plan`` multiplies each group's rate by the setting's factor. ``lr: auto`` measures, in the first steps, how far a
step moves each group over how large it is, and sets the factors so that this ratio is the one wanted.
"""
from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from statistics import median
from typing import Any

import paddle
from paddle import nn

from ..checkpoints import name_maps
from ..distributed import processes
from ..engine.hooks import Hook, Status
from ..engine.measurements import Updates
from ..engine.trainer import Trainer
from ..files import atomic_path
from ..weights.json_file import read_json
from . import swap_plan
from .starts import PRETRAINED

log = logging.getLogger("ppdet.engine")
FILE = "swap_rates.json"  # the factors, beside the checkpoints: a run that goes on has them again
AUTO = "auto"
MEASURED = 50  # steps, of which the second half counts
BACKBONE, PROJECTIONS, KEPT = GROUPS = ("backbone", "projections", "neck and decoder")
BEGINS = {BACKBONE: name_maps.BACKBONE, PROJECTIONS: swap_plan.PROJECTIONS}
LEAST, MOST = 0.05, 5.0  # factors that ``auto`` may set


def groups(model: nn.Layer) -> dict[str, dict[str, paddle.Tensor]]:
    """{group: {name: parameter}} of what learns, by GROUPS."""
    found: dict[str, dict[str, paddle.Tensor]] = {group: {} for group in GROUPS}
    for name, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            group = next((group for group, begin in BEGINS.items() if name.startswith(begin)), KEPT)
            found[group][name] = parameter
    return {group: named for group, named in found.items() if named}


def planned(settings: Mapping[str, Any], start: str) -> dict[str, float]:
    """{group: factor} as the settings say; those of the config alone with ``lr: false``."""
    if not settings["lr"]:
        return dict.fromkeys(GROUPS, 1.0)
    return {BACKBONE: settings[f"lr_{start}"], PROJECTIONS: settings["lr_projections"], KEPT: settings["lr_kept"]}


def wanted(settings: Mapping[str, Any], start: str) -> dict[str, float]:
    """{group: update-to-weight ratio} that ``auto`` aims at."""
    return {BACKBONE: settings["ratio_pretrained" if start == PRETRAINED else "ratio_random"],
            PROJECTIONS: settings["ratio_projections"], KEPT: settings["ratio_kept"]}


def factors_for(ratios: Mapping[str, float], targets: Mapping[str, float]) -> dict[str, float]:
    """Factors that bring ratios, measured at a factor of 1, to their targets, within LEAST and MOST."""
    return {group: min(max(targets[group] / ratio, LEAST), MOST) if ratio > 0 else 1.0
            for group, ratio in ratios.items()}


class Rates(Hook):
    """Sets the groups' factors before each step of the optimizer.

    They multiply what the config gives each parameter (lr_mult_list, param_groups); the schedule goes on as ever.

    Args:
        settings: of ``swap_backbone``.
        start: of the backbone, see ``starts``.
    """

    def __init__(self, trainer: Trainer, settings: Mapping[str, Any], start: str) -> None:
        self.trainer, self.settings = trainer, settings
        self.factors, self.targets = planned(settings, start), wanted(settings, start)
        self.auto = settings["lr"] == AUTO  # and not measured yet
        self.ratios: dict[str, list[float]] = {}

    def before_train(self, status: Status) -> None:
        self.groups = groups(self.trainer.model)
        self.own = {name: parameter.optimize_attr["learning_rate"] for named in self.groups.values()
                    for name, parameter in named.items()}
        self.updates, path = Updates(self.groups), self.trainer.output / FILE
        if self.trainer.lr.last_epoch > 0 and path.is_file():
            kept = read_json(path)
            self.factors.update({group: float(kept[group]) for group in self.groups if group in kept})
            self.auto = self.auto and not kept.get("measured")
        if self.settings["lr"]:
            log.info(f"learning rates after the swap: {self._said()}; neck and decoder come to theirs in "
                     f"{self.settings['lr_warmup']} steps" + (f"; measured after {MEASURED}" if self.auto else ""))
        self._keep()

    def before_update(self, status: Status) -> None:
        done = self.trainer.lr.last_epoch
        self._set(done)
        if self._measures(done):
            self.updates.before(self._masters())
            self._base = self.trainer.optimizer.get_lr()

    def after_step(self, status: Status) -> None:
        # {} where this batch did not end a group, for nothing was remembered then
        found = self.updates.ratios(self._masters()) if self.auto else {}
        for group, ratio in found.items():
            rate = self._base * self.factors[group] * self._ramp(group, self.trainer.lr.last_epoch - 1)
            self.ratios.setdefault(group, []).append(ratio / rate if rate > 0 else 0.0)
        if found and self.trainer.lr.last_epoch >= MEASURED:
            self._decide()

    def _measures(self, done):
        return self.auto and MEASURED // 2 <= done < MEASURED

    def _ramp(self, group, done):
        if group != KEPT or not self.settings["lr"]:
            return 1.0
        return min(1.0, (done + 1) / max(self.settings["lr_warmup"], 1))

    def _set(self, done):
        for group, named in self.groups.items():
            factor = self.factors[group] * self._ramp(group, done)
            for name, parameter in named.items():
                parameter.optimize_attr["learning_rate"] = self.own[name] * factor

    def _masters(self):
        if not self.trainer.precision.half_weights:
            return {}
        return self.trainer.optimizer.state_dict().get("master_weights", {})

    def _decide(self):
        """Set the factors, say them, and keep them for a run that goes on."""
        base = self.trainer.cfg["LearningRate"]["base_lr"]
        ratios = {group: median(values) * base for group, values in self.ratios.items()}
        self.factors.update(factors_for(ratios, self.targets))
        self.auto = False
        measured = ", ".join(f"{group} {ratio:.1e} (wanted {self.targets[group]:.1e})"
                             for group, ratio in ratios.items())
        log.info(f"lr: auto: update-to-weight ratios at base_lr in steps {MEASURED // 2} to {MEASURED}: {measured}; "
                 f"so {self._said()}")
        self._keep()

    def _keep(self):
        if processes.is_main():
            with atomic_path(self.trainer.output / FILE) as temporary:
                temporary.write_text(json.dumps({**self.factors, "measured": not self.auto}), encoding="utf-8")

    def _said(self):
        return ", ".join(f"{group} x{self.factors[group]:.3g}" for group in self.groups)
