# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Similar networks first: the catalogue's rows by their distance to a network, within limits, with reasons in words.

Nothing is run: all is from the catalogue.
"""
from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections import Counter
from collections.abc import Sequence

from ..errors import UserError
from . import catalogue
from .backbone_section import backbone_section
from .catalogue import Row, Weights
from .kinds import KINDS

# how much each difference counts; 1 is a network that needs an adapter to have a detector's strides
COUNTS = {"strides": 1.0, "channels": 0.25, "stages": 0.1, "kind": 0.4, "operations": 0.6, "norm": 0.3,
          "activation": 0.1, "cost": 0.5}
PER_FAMILY = 2  # of the same source file, so that not all suggestions are one network's variants
ALIKE = 1.05  # ratios nearer to 1 are called "equal"


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a suggestion may cost, against the network that it is like.

    Attributes:
        latency: at most so many times its estimated latency.
        memory: GB (10**9 bytes) of a training step of RT-DETR at 640 x 640, ``batch`` images, float32.
        licence: a glob for the licence of the weights.
        without_torch: native networks and graphs of the package only.
    """

    latency: float = math.inf
    memory: float = math.inf
    batch: int = 4
    licence: str = ""
    without_torch: bool = False

    def allow(self, row: Row, like: Row) -> bool:
        """Whether a row is within all limits, and has weights."""
        return (row.best(self.licence) is not None and row.training_gb(self.batch) <= self.memory
                and row.milliseconds <= self.latency * like.milliseconds
                and not (self.without_torch and row.how == "bridged"))


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A network, its weights, how far it is from the other, and why it is suggested."""

    row: Row
    weights: Weights
    distance: float
    reasons: tuple[str, ...]

    @property
    def arch(self) -> str:
        """The name as create_model takes it; with the tag where the weights are not the default ones."""
        default = self.weights is self.row.weights[0]
        return self.row.name if default else f"{self.row.name}.{self.weights.tag}"

    def section(self) -> str:
        """The YAML to paste."""
        kind, settings = backbone_section(self.arch, pretrained=True)
        if self.row.needs_size:
            settings["img_size"] = [self.row.side, self.row.side]
        if self.row.strides_fit:
            del settings["adapter"]
        del settings["size"]
        rows = [f"  {key}: {'null' if value is None else str(value).lower() if value is True else value}"
                for key, value in settings.items()]
        return "\n".join([f"DETR: {{backbone: {kind}}}", f"{kind}:", *rows])


def suggest(name: str, limits: Limits = Limits(), count: int = 6, each_kind: bool = False) -> list[Suggestion]:
    """The nearest networks within the limits, nearest first.

    Args:
        name: what they should be like.
        count: how many at most.
        each_kind: one of each kind (see kinds.KINDS) instead of PER_FAMILY of each family.

    Raises:
        UserError: no such name in the catalogue, or nothing is within the limits.
    """
    like = catalogue.find(name)
    allowed = [row for row in catalogue.load().values() if row.name != like.name and limits.allow(row, like)]
    if not allowed:
        raise UserError(f"nothing in the catalogue is within these limits: {_nearest_miss(like, limits)}")
    near = sorted(allowed, key=lambda row: (distance(row, like), row.name))
    taken: Counter[str] = Counter() if not each_kind else Counter({like.kind: 1})
    found: list[Suggestion] = []
    for row in near:
        group, most = (row.kind, 1) if each_kind else (row.family.rpartition("/")[2], PER_FAMILY)
        if taken[group] < most and len(found) < count:
            taken[group] += 1
            weights = row.best(limits.licence)
            assert weights is not None  # noqa: S101  Limits.allow has seen to it
            found.append(Suggestion(row, weights, distance(row, like), tuple(reasons(row, like, weights))))
    return found


def distance(row: Row, like: Row) -> float:
    """How different two networks are in structure and in cost; 0 for the same."""
    return sum(COUNTS[name] * value for name, value in differences(row, like).items())


def differences(row: Row, like: Row) -> dict[str, float]:
    """{name in COUNTS: difference}: 0 or 1, a share of the operations, or doublings (of channels, of costs)."""
    pairs = list(zip(row.taken, like.taken))
    kinds = {*row.shares, *like.shares}
    costs = [(row.gmacs, like.gmacs), (row.backbone_parameters, like.backbone_parameters),
             (row.kept_mb or row.peak_mb, like.kept_mb or like.peak_mb), (row.milliseconds, like.milliseconds)]
    return {
        "strides": any(one[0] != other[0] for one, other in pairs) or len(row.taken) != len(like.taken),
        "channels": sum(abs(math.log2(one[1] / other[1])) for one, other in pairs) / len(pairs),
        "stages": abs(len(set(row.strides)) - len(set(like.strides))),
        "kind": row.kind != like.kind,
        "operations": sum(abs(row.shares.get(kind, 0) - like.shares.get(kind, 0)) for kind in kinds) / 2,
        "norm": row.norm != like.norm,
        "activation": row.activation != like.activation,
        "cost": sum(abs(math.log2(_ratio(*pair))) for pair in costs) / len(costs)}


def _ratio(one: float, other: float) -> float:
    return max(one, 1e-6) / max(other, 1e-6)


def reasons(row: Row, like: Row, weights: Weights) -> list[str]:
    """What is the same and what is not, most important first."""
    ours, theirs = ([stride for stride, _ in one.taken] for one in (row, like))
    strides = " ".join(f"{stride:g}" for stride in ours)
    found = [f"the same strides {strides}" if ours == theirs else f"strides {strides}, not "
             f"{' '.join(f'{stride:g}' for stride in theirs)}" + ("" if row.strides_fit else ": an adapter makes them")]
    channels = [" ".join(str(count) for _, count in one.taken) for one in (row, like)]
    found.append(f"the same channels {channels[0]}" if channels[0] == channels[1] else f"channels {channels[0]}")
    found.append(f"{KINDS[row.kind]}, too" if row.kind == like.kind else f"{KINDS[row.kind]} instead of "
                 f"{KINDS[like.kind]}")
    if row.norm != like.norm:
        found.append(f"{row.norm or 'another'} norm instead of {like.norm or 'another'} norm")
    costs = {"operations": _ratio(row.gmacs, like.gmacs), "weights": _ratio(row.backbone_parameters,
                                                                            like.backbone_parameters),
             "latency (estimated)": _ratio(row.milliseconds, like.milliseconds)}
    if row.kept_mb and like.kept_mb:
        costs["memory in training (estimated)"] = _ratio(row.kept_mb, like.kept_mb)
    found += [f"equal {what}" if 1 / ALIKE < ratio < ALIKE else f"{ratio:.2f}x {what}" for what, ratio in
              costs.items()]
    return found + list(_accuracy(weights, like))


def _accuracy(weights, like):
    theirs = like.best()
    if weights.top1 and theirs and theirs.top1:
        yield f"ImageNet top-1 {weights.top1:.1f} ({weights.top1 - theirs.top1:+.1f})"
    elif weights.top1:
        yield f"ImageNet top-1 {weights.top1:.1f}"


def _nearest_miss(like: Row, limits: Limits) -> str:
    """Which limit alone leaves nothing, and how much it would have to be."""
    rows: Sequence[Row] = [row for row in catalogue.load().values() if row.name != like.name]
    licences = Counter(one.licence for row in rows for one in row.weights)
    if limits.licence and not any(fnmatch.fnmatchcase(one, limits.licence) for one in licences):
        known = ", ".join(name for name, _ in licences.most_common(6) if name)
        return f"no weights have the licence '{limits.licence}' (there are {known}, ...)"
    least = min(row.training_gb(limits.batch) for row in rows)
    if least > limits.memory:
        return (f"training takes at least {least:.1f} GB at batch {limits.batch}; give more --max-memory or a smaller "
                "--batch")
    quickest = min(row.milliseconds for row in rows) / like.milliseconds
    if quickest > limits.latency:
        return f"the quickest network takes {quickest:.2f}x the time of {like.name}; give more --max-latency"
    return "each of them leaves some, together none; loosen one"
