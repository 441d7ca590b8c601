# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a run's measurements say is wrong: one table, each row with what it looks at and the line that says what to do.

docs/watching.md lists the rows for users.
"""
from __future__ import annotations

import dataclasses
import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

RECENT = 10  # intervals that a rule looks back on
FEW = 5  # intervals that it needs
LONG = 200  # batches after the warm-up in which a loss can be expected to fall
WAITING = 0.3  # share of a step's time for data, from which a step is data-bound
BUSY = 0.8  # share of the processors from which more workers would only share them
FULL = 0.9  # share of the memory
# loss over that at the start, from which it has not fallen: from new weights, and from a detector's checkpoint
NOT_FALLEN, RISEN = 0.97, 1.2
CLASSES = ("class", "cls")  # in names of terms of the loss
CLIPPED = 10  # gradient norm over the limit, which is then the only thing that decides how far a step goes
CLIPPED_ADAPTIVE = 1e5  # Adam and its like divide by the gradient's size, so less does not matter there
# norm of a backbone's step over that of its weights, at the full learning rate: of pretrained ones, and of small random
# ones, which have nothing to lose
USUAL_RATIO, RANDOM_RATIO = 1e-3, 1e-2
RATE_FACTOR = 10
LOW_RATIO = USUAL_RATIO / RATE_FACTOR / RATE_FACTOR  # pretrained weights often get a tenth of the rate
RUN_AWAY = 1e4  # statistic of a BatchNorm over what it was (or over 1)
SETTLED = 3  # mean ages of the averaged weights after which what they began with hardly counts
OLD = 0.3  # mean age of the averaged weights over the run's steps; no more with the types threshold and exponential
FAR_BELOW, LEAST_AP = 0.5, 0.02  # AP over that of the raw weights; an AP below says nothing yet


@dataclasses.dataclass
class Run:
    """What a run is, as far as rules want to know.

    Attributes:
        workers, processors, batch_size: of reader and machine.
        clip_norm: limit of the gradient's norm; None without one.
        adaptive: the optimizer divides by the gradient's size.
        warm_up: batches of the warm-up.
        interval: batches between measurements.
        has_weights: the detector began from a checkpoint, not from a backbone's weights or none.
        pretrained: the backbone's weights are no random start.
        average, decay: ``ema_decay_type`` and ``ema_decay``; '' without an average.
        average_age: mean age of its weights at the end of the run, over the run's steps.
        steps: the optimizer's, of the whole run.
        empty_groups: patterns of ``param_groups`` that match nothing.
        parts: the detector's parts that learn.
    """

    workers: int = 2
    processors: int = 8
    batch_size: int = 4
    clip_norm: float | None = None
    adaptive: bool = True
    warm_up: int = 0
    interval: int = 20
    has_weights: bool = False
    pretrained: bool = True
    average: str = ""
    decay: float = 0.0
    average_age: float = 0.0
    steps: int = 1000
    empty_groups: Sequence[str] = ()
    parts: Sequence[str] = ()


@dataclasses.dataclass
class Reading:
    """One interval: its line of metrics.jsonl and what stands in none.

    Attributes:
        line: see docs/watching.md.
        rate: learning rate over that without schedule.
        memory_taken: share of the memory.
        growth, layer: of BatchNorm's statistics, see ``measurements.Statistics``.
        idle: parts that learn, but none of whose parameters had a gradient.
    """

    line: dict[str, Any]
    rate: float = 1.0
    memory_taken: float = 0.0
    growth: float = 1.0
    layer: str = ""
    idle: Sequence[str] = ()


class Sight:
    """What rules see: the run, its last ``RECENT`` readings, the loss of its first ones, its last evaluation."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.recent: deque[Reading] = deque(maxlen=RECENT)
        self.first_losses: list[dict[str, float]] = []
        self.evaluation: dict[str, Any] = {}

    def add(self, reading: Reading) -> None:
        """A new interval."""
        self.recent.append(reading)
        if len(self.first_losses) < FEW:
            self.first_losses.append(reading.line["loss"])

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The recent lines."""
        return [reading.line for reading in self.recent]

    @property
    def step(self) -> int:
        """Of the last line."""
        return self.recent[-1].line["step"] if self.recent else 0

    @property
    def waiting(self) -> float:
        """Share of a step's time that goes into waiting for data."""
        return _middle(line["share"]["data"] for line in self.lines)

    @property
    def workers_wanted(self) -> int:
        """Workers that would read as fast as the network learns."""
        busy = 1 - min(self.waiting, 0.99)
        return math.ceil(self.run.workers / busy if self.run.workers else self.waiting / busy)

    @property
    def processors_taken(self) -> float:
        """Share of all processors that this run keeps busy."""
        return _middle(line["cpu_percent"] for line in self.lines) / 100 / self.run.processors

    @property
    def loss(self) -> float:
        """Of the last few intervals."""
        return _middle(map(_whole_loss, self.last_losses))

    @property
    def last_losses(self) -> list[dict[str, float]]:
        """Terms of the loss in the last few intervals."""
        return [line["loss"] for line in self.lines[-FEW:]]

    @property
    def first_loss(self) -> float:
        """Of the first few."""
        return _middle(map(_whole_loss, self.first_losses))

    @property
    def gradient(self) -> float:
        """Norm of the gradient."""
        return _middle(line["grad_norm"] for line in self.lines)

    @property
    def warm(self) -> bool:
        """Whether all recent readings come after the warm-up, and they are as many as a rule looks back on."""
        return len(self.recent) == RECENT and self.lines[0]["step"] > self.run.warm_up

    @property
    def backbone_ratio(self) -> float:
        """The backbone's update-to-weight ratio, as it would be at the full learning rate; 0 where it does not learn.
        """
        if "backbone" not in self.run.parts:
            return 0.0
        return _middle(reading.line["update_ratio"]["backbone"] / reading.rate for reading in self.recent
                       if reading.rate and reading.line["update_ratio"].get("backbone"))


def _middle(numbers: Iterable[float]) -> float:
    found = [number for number in numbers if number is not None and math.isfinite(number)]
    return statistics.median(found) if found else 0.0


@dataclasses.dataclass(frozen=True)
class Rule:
    """A row.

    Attributes:
        name: in metrics.jsonl.
        when: what it comes after: 'start', 'step' (an interval) or 'evaluation'.
        found: whether it is there.
        text: what is so and what to do, in one line.
        said: another line of the log says it already, so that it goes into metrics.jsonl alone.
    """

    name: str
    when: str
    found: Callable[[Sight], bool]
    text: Callable[[Sight], str]
    said: bool = False


def _more_workers(sight):
    start = f"{sight.waiting:.0%} of a step's time goes into waiting for data"
    wanted = min(sight.workers_wanted, sight.run.processors)
    if sight.processors_taken > BUSY or wanted <= sight.run.workers:
        return (f"{start}, and the processors are busy ({sight.run.processors} of them, worker_num "
                f"{sight.run.workers}): store smaller pictures, or use fewer sample_transforms")
    return f"{start}: try worker_num: {wanted} (it is {sight.run.workers})"


def _smaller_batch(sight):
    half = max(sight.run.batch_size // 2, 1)
    what = "the GPU's memory" if "gpu_mb" in sight.lines[-1]["memory"] else "the memory"
    advice = f"TrainReader.batch_size: {half} with accumulate_steps: 2 trains alike" if half < sight.run.batch_size \
        else "take smaller pictures (BatchRandomResize, Resize), or fewer workers (worker_num)"
    return f"{what} is {sight.recent[-1].memory_taken:.0%} full: {advice}"


def _whole_loss(terms):
    return terms.get("loss", math.nan)


def _box_loss(terms):
    """Without the classes: varifocal ones (RT-DETR's) aim at the boxes' IoU, and so grow while boxes get better."""
    return sum(math.nan if value is None else value for name, value in terms.items()
               if name != "loss" and not any(word in name for word in CLASSES))


def _loss_stays(sight):
    limit = RISEN if sight.run.has_weights else NOT_FALLEN
    stays = sight.warm and sight.step > sight.run.warm_up + LONG and sight.loss > limit * sight.first_loss > 0
    boxes_learn = 0 < _middle(map(_box_loss, sight.last_losses)) <= limit * _middle(map(_box_loss, sight.first_losses))
    return stays and not boxes_learn


def _always_clipped(sight):
    limit = sight.run.clip_norm
    return sight.warm and limit is not None and all(
        line["grad_norm"] is not None and
        line["grad_norm"] > limit * (CLIPPED_ADAPTIVE if sight.run.adaptive else CLIPPED) for line in sight.lines)


def _usual(sight):
    return USUAL_RATIO if sight.run.pretrained else RANDOM_RATIO


def _rate_high(sight):
    return sight.warm and sight.backbone_ratio > RATE_FACTOR * _usual(sight)


def _rate_low(sight):
    return sight.warm and 0 < sight.backbone_ratio < LOW_RATIO


def _rate_text(sight, what, wanted):
    return (f"a step moves the backbone's weights by {sight.backbone_ratio:.1g} of their size, which is too {what} "
            f"({_round(_usual(sight))} is usual, a tenth of it is well): for its learning rate, multiply it by about "
            f"{_round(wanted / sight.backbone_ratio)} (OptimizerBuilder.optimizer.param_groups, or lr_mult_list)")


def _round(number):
    return f"{float(f'{number:.1g}'):g}"


def _far_below(sight):
    evaluation, run = sight.evaluation, sight.run
    raw = evaluation.get("raw")
    # before that every average is mostly the weights of the start
    soon = evaluation.get("step", run.steps) < min(SETTLED * run.average_age * run.steps, run.steps)
    return bool(raw) and not soon and _ap(raw) > LEAST_AP and _ap(evaluation["metrics"]) < FAR_BELOW * _ap(raw)


RULES = (
    Rule("data_bound", "step", lambda sight: len(sight.recent) >= FEW and sight.waiting > WAITING, _more_workers),
    Rule("memory", "step", lambda sight: sight.recent[-1].memory_taken > FULL, _smaller_batch),
    Rule("loss", "step", _loss_stays,
         lambda sight: f"the loss has not fallen since the start ({sight.first_loss:.3g}, now {sight.loss:.3g} at step "
                       f"{sight.step}): look at the boxes and at the normalisation, then try a lower or a tenfold "
                       "LearningRate.base_lr"),
    Rule("clipping", "step", _always_clipped,
         lambda sight: f"every gradient is clipped (norm {sight.gradient:.3g}, limit {sight.run.clip_norm:g}), so that "
                       "its size no longer counts: lower LearningRate.base_lr, or raise "
                       f"OptimizerBuilder.clip_grad_by_norm to about {_round(sight.gradient)}"),
    Rule("backbone_rate_high", "step", _rate_high, lambda sight: _rate_text(sight, "much", _usual(sight))),
    Rule("backbone_rate_low", "step", _rate_low, lambda sight: _rate_text(sight, "little", _usual(sight) / 10)),
    Rule("batch_norm", "step", lambda sight: sight.recent[-1].growth > RUN_AWAY,
         lambda sight: f"the statistics of BatchNorm '{sight.recent[-1].layer}' have grown "
                       f"{sight.recent[-1].growth:.1g} times, so evaluation will see other numbers than training: "
                       "lower LearningRate.base_lr, take larger batches, or freeze them (freeze_norm: true)"),
    Rule("empty_group", "start", lambda sight: bool(sight.run.empty_groups),
         lambda sight: f"param_groups: {', '.join(sight.run.empty_groups)} matches no parameter that learns; names "
                       f"begin with {', '.join(sight.run.parts)}", said=True),
    Rule("idle_part", "step", lambda sight: len(sight.recent) >= FEW and bool(_idle(sight)),
         lambda sight: f"no parameter of {', '.join(_idle(sight))} gets a gradient, so that nothing is learnt there: "
                       "look whether its output reaches the loss (a layer of your own that leaves the graph?), or "
                       "freeze it"),
    Rule("average_lags", "start", lambda sight: sight.run.average_age > OLD,
         lambda sight: f"the average of weights lags: at the end of these {sight.run.steps} steps its weights are "
                       f"{sight.run.average_age * sight.run.steps:.0f} steps old on average (ema_decay "
                       f"{sight.run.decay:g}, {sight.run.average}): write ema_decay_type: exponential, "
                       f"or ema_decay: {_decay(sight.run.steps)}"),
    Rule("average_below_raw", "evaluation", _far_below,
         lambda sight: f"AP of the averaged weights is {_ap(sight.evaluation['metrics']):.3f}, that of the raw ones "
                       f"{_ap(sight.evaluation['raw']):.3f}: the average lags; lower ema_decay, or use_ema: false"),
)


def _idle(sight):
    """Parts without a gradient in all recent readings."""
    sets = [set(reading.idle) for reading in sight.recent]
    return [part for part in sight.run.parts if all(part in idle for idle in sets)]


def _decay(steps):
    """One whose average is a twentieth of the run long."""
    return f"{1 - 20 / max(steps, 40):.4g}"


def _ap(values):
    found = values.get("AP", values.get("AP50"))
    return 0.0 if found is None else found
