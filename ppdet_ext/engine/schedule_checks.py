# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Does the schedule fit the run? One table: what cannot work is an error, what will hardly be meant is a warning.

``config/schedule_keys.py`` has looked at names and values before; here the run's length is known, too.
"""
from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ppdet.optimizer.optimizer import CosineDecay, ExpWarmup, PiecewiseDecay

from ..errors import UserError

log = logging.getLogger("ppdet.engine")

WHERE = "LearningRate.schedulers"
TENTH = 0.1  # of a run, what is proposed as warm-up; and the gamma whose powers are what people mean by one number


@dataclasses.dataclass(frozen=True)
class Plan:
    """A schedule laid over a run.

    Attributes:
        schedulers: ppdet's objects in the config's order, a decay first.
        epochs: of the run.
        per_epoch: the optimizer's steps of an epoch.
    """
    schedulers: Sequence[Any]
    epochs: int
    per_epoch: int

    @property
    def decay(self) -> Any:
        """The decay's object."""
        return self.schedulers[0]

    @property
    def warmup(self) -> Any:
        """The warm-up's object; None where the decay does not ask for it."""
        return self.schedulers[1] if self.decay.use_warmup else None

    @property
    def steps(self) -> int:
        """The run's steps."""
        return self.epochs * self.per_epoch

    @functools.cached_property
    def warm(self) -> int:
        """Steps of the warm-up, counted as ppdet does; 0 without one."""
        if self.warmup is None:
            return 0
        given = self.warmup.steps if self.warmup.epochs is None else self.warmup.epochs * self.per_epoch
        return max(given, 1)

    @property
    def unused(self) -> list[str]:
        """Class names of the entries that nothing reads."""
        return [type(entry).__name__ for entry in self.schedulers[2 if self.warmup is not None else 1:]]

    @property
    def falls(self) -> bool:
        """Whether a PiecewiseDecay changes the rate at all; ``gamma: 1.0`` is how a constant one is written."""
        return self.decay.values is not None or any(factor != 1 for factor in self.decay.gamma)

    @property
    def late(self) -> list[int]:
        """Milestones after the last epoch; one at its very end is a way to write none."""
        return [epoch for epoch in self.decay.milestones if epoch > self.epochs]

    @property
    def early(self) -> list[int]:
        """Milestones before the warm-up has ended."""
        return [epoch for epoch in self.decay.milestones if epoch * self.per_epoch <= self.warm]

    @property
    def cosine_steps(self) -> int:
        """Steps until a CosineDecay has come down."""
        return (self.decay.max_epochs - self.decay.last_plateau_epochs) * self.per_epoch

    def length(self) -> str:
        """The run in words."""
        return f"{self.epochs} epochs of {self.per_epoch} steps = {self.steps} steps"


def _warms_up_to(plan):
    """Share of base_lr that is reached when the run ends."""
    done = plan.steps / plan.warm
    if isinstance(plan.warmup, ExpWarmup):
        return done ** plan.warmup.power
    return plan.warmup.start_factor * (1 - done) + done


def _shorter(plan):
    return f"write steps: {max(int(plan.steps * TENTH), 1)} in {type(plan.warmup).__name__}"


def _as_steps(plan):
    """Hint for milestones that were meant as steps; '' where even as such they are too late."""
    if plan.late[0] > plan.steps:
        return ""
    epochs = [max(round(step / plan.per_epoch), 1) for step in plan.late]
    return f"; they are epochs, not steps: as steps they would be about epochs {epochs}"


def _is_tenths(plan):
    """gamma was one number, of which ppdet makes a tenth at each further milestone; 0.1, 0.01, ... is what is meant."""
    gamma = plan.decay.gamma
    return len(gamma) > 1 and gamma[0] != TENTH and gamma == [gamma[0] / 10 ** i for i in range(len(gamma))]


def _not_falling(plan):
    gamma = plan.decay.gamma
    return plan.decay.values is None and any(left <= right for left, right in zip(gamma, gamma[1:]))


@dataclasses.dataclass(frozen=True)
class Row:
    """One thing that may be wrong with a Plan.

    Attributes:
        decay: the decay's class that it is about; object: any.
        found: whether it is there.
        text: what is wrong and what to do, in one line.
        fatal: it cannot work.
    """
    decay: type
    found: Callable[[Plan], bool]
    text: Callable[[Plan], str]
    fatal: bool = False


TABLE = (
    Row(PiecewiseDecay, lambda plan: plan.decay.values is not None and plan.warm > 0,
        lambda plan: "PiecewiseDecay.values leave no room for a warm-up; write gamma (factors on base_lr), or "
                     "use_warmup: false", fatal=True),
    Row(object, lambda plan: bool(plan.unused),
        lambda plan: f"{', '.join(plan.unused)} has NO effect: " + (
            "one decay and one warm-up are used" if plan.warm else
            f"{type(plan.decay).__name__} says use_warmup: false")),
    Row(object, lambda plan: plan.warm > plan.steps,
        lambda plan: f"the warm-up of {plan.warm} steps is longer than the run ({plan.length()}), which ends at "
                     f"{_warms_up_to(plan):.0%} of base_lr; {_shorter(plan)}"),
    Row(object, lambda plan: plan.steps >= plan.warm > plan.steps / 2,
        lambda plan: f"the warm-up of {plan.warm} steps takes most of the run ({plan.length()}); {_shorter(plan)}"),
    Row(object, lambda plan: getattr(plan.warmup, "start_factor", 0) > 1,
        lambda plan: f"the warm-up begins ABOVE base_lr, at {plan.warmup.start_factor:g} times it; start_factor is a "
                     "share such as 0.001"),
    Row(PiecewiseDecay, lambda plan: plan.falls and bool(plan.late),
        lambda plan: f"milestones {plan.late} come after the last epoch ({plan.epochs}) and have NO effect"
                     f"{_as_steps(plan)}"),
    Row(PiecewiseDecay, lambda plan: plan.falls and bool(plan.early),
        lambda plan: f"milestones {plan.early} lie within the warm-up ({plan.warm} steps, {plan.per_epoch} in an "
                     "epoch), so base_lr itself is never used; write later ones, or a shorter warm-up"
        if plan.warm else "milestone 0 means that base_lr itself is never used; write a later one"),
    Row(PiecewiseDecay, lambda plan: plan.decay.values is None and _is_tenths(plan),
        lambda plan: f"gamma {plan.decay.gamma[0]:g} means the factors {_listed(plan.decay.gamma)} on base_lr at the "
                     f"milestones {plan.decay.milestones}, a tenth at each further one; write a list for others: "
                     f"gamma: {_listed(plan.decay.gamma[0] ** (i + 1) for i in range(len(plan.decay.gamma)))}"),
    Row(PiecewiseDecay, _not_falling,
        lambda plan: f"gamma {_listed(plan.decay.gamma)} are factors on base_lr, not on the rate before, so that the "
                     f"rate does not fall at each of the milestones {plan.decay.milestones}"),
    Row(CosineDecay, lambda plan: plan.decay.max_epochs > 2 * plan.epochs,
        lambda plan: f"CosineDecay is made for {plan.decay.max_epochs} epochs, of which {plan.epochs} run: the rate "
                     f"hardly falls; write max_epochs: {plan.epochs} in it"),
    Row(CosineDecay, lambda plan: plan.decay.max_epochs < plan.epochs,
        lambda plan: f"CosineDecay ends after {plan.decay.max_epochs} of {plan.epochs} epochs, and then the rate "
                     + (f"stays at {plan.decay.min_lr_ratio:g} times base_lr" if _stays(plan) else
                        "RISES again to base_lr") + f"; write max_epochs: {plan.epochs} in it"),
    Row(CosineDecay, lambda plan: plan.warm >= plan.cosine_steps,
        lambda plan: f"the warm-up of {plan.warm} steps takes all {plan.cosine_steps} steps of CosineDecay, which "
                     "then does nothing; write a shorter one"),
)


def _listed(numbers):
    return "[" + ", ".join(f"{number:g}" for number in numbers) + "]"


def _stays(plan):
    """Whether ppdet builds the cosine from single steps, which ends; Paddle's own goes on as a wave."""
    return plan.warmup is not None or plan.decay.last_plateau_epochs > 0


def check(schedulers: Sequence[Any], epochs: int, steps_per_epoch: int) -> Plan:
    """Hold a schedule against the run; what will hardly be meant is a warning, one line each. Gives what it saw.

    Args:
        schedulers: ``schedulers`` of ppdet's LearningRate.
        epochs: of the run.
        steps_per_epoch: the optimizer's, so groups of batches with ``accumulate_steps``.

    Raises:
        UserError: it cannot work.
    """
    plan = Plan(schedulers, epochs, steps_per_epoch)
    for row in TABLE:
        if isinstance(plan.decay, row.decay) and row.found(plan):
            if row.fatal:
                raise UserError(f"{WHERE}: {row.text(plan)}")
            log.warning("%s: %s", WHERE, row.text(plan))
    return plan
