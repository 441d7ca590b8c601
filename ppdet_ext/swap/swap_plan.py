# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What becomes of every parameter when a trained detector gets another backbone: rules as rows, on names and shapes."""
from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Callable, NamedTuple

from ..checkpoints import name_rules
from ..checkpoints.name_maps import BACKBONE, SCORE_BIAS
from ..errors import UserError, printable

KEPT, MADE, ALIGNED, RESET, DROPPED = WORDS = ("kept", "made", "aligned", "reset", "dropped")
#: what each word means, for reports
MEANINGS = {KEPT: "the checkpoint's numbers", MADE: "of the new detector, as it starts without the checkpoint",
            ALIGNED: "made, and then fitted to the old detector's features",
            RESET: "in both, but the checkpoint's numbers do not fit",
            DROPPED: "in the checkpoint only"}
PROJECTIONS = "neck.input_proj."  # how names of the neck's projections begin in Paddle
STATISTICS = ("._mean", "._variance")
NORM = re.compile(rf"{re.escape(PROJECTIONS)}\d+\.1\.")
FIRST_PROJECTION = f"{PROJECTIONS}0.0.weight"  # no RT-DETR lacks it
LAYER = re.compile(r"(neck\.input_proj|transformer\.decoder\.layers|transformer\.input_proj)\.(\d+)\.")
Shapes = Mapping[str, tuple[int, ...]]


class Row(NamedTuple):
    """What became of one tensor, by its name in Paddle: a word of WORDS, the reason, and more of it where there is."""

    name: str
    what: str
    why: str
    detail: str = ""


@dataclass(frozen=True)
class Tensor:
    """One name, as the rules see it.

    Attributes:
        name: in Paddle.
        new, old: its shape in the new detector and in the checkpoint; None where it is not there.
        whole: all tensors of its layer (weight, bias, statistics) have the checkpoint's shapes.
        same_backbone: the checkpoint's backbone stays.
        anew: it depends on the classes, and these are others.
    """

    name: str
    new: tuple[int, ...] | None
    old: tuple[int, ...] | None
    whole: bool
    same_backbone: bool
    anew: bool

    @property
    def of_backbone(self) -> bool:
        """Whether it belongs to the backbone, with its adapter."""
        return self.name.startswith(BACKBONE)

    @property
    def of_projection(self) -> bool:
        """Whether it belongs to the neck's projection of a feature map to ``hidden_dim`` channels."""
        return self.name.startswith(PROJECTIONS)


class Rule(NamedTuple):
    """A rule: the word, for which tensors, the reason. The first that holds decides."""

    what: str
    holds: Callable[[Tensor], bool]
    why: str


RULES = (
    Rule(KEPT, lambda one: one.of_backbone and one.same_backbone, "the backbone is the checkpoint's own"),
    Rule(MADE, lambda one: one.of_backbone and one.new is not None, "the new backbone"),
    Rule(DROPPED, lambda one: one.of_backbone, "the old backbone"),
    Rule(DROPPED, lambda one: one.new is None, "the new detector has no such layer (depth, or another setting)"),
    # a projection's weights read the channels of one network; those of another mean something else, as many as they are
    Rule(MADE, lambda one: one.of_projection and not one.same_backbone and not NORM.match(one.name),
         "reads the new backbone's channels"),
    Rule(MADE, lambda one: one.of_projection and not one.same_backbone and one.name.endswith(STATISTICS),
         "statistics of features that are gone"),
    Rule(MADE, lambda one: one.old is None, "the checkpoint has no such layer (depth, or another setting)"),
    Rule(RESET, lambda one: one.anew, "depends on the classes, which are others"),
    Rule(RESET, lambda one: not one.whole, "another width"),
    # its output's mean and size, channel by channel, are what the layers after it were trained with
    Rule(KEPT, lambda one: one.of_projection and not one.same_backbone,
         "mean and size of the maps that the layers after it know"),
    Rule(KEPT, lambda one: True, "same name and shape"),
)


def _sides(shape):
    return "x".join(map(str, shape)) or "one number"


def plan(new: Shapes, old: Shapes, same_backbone: bool = False, anew: Collection[str] = ()) -> tuple[Row, ...]:
    """What becomes of every tensor.

    Args:
        new: ``{Paddle name: shape}`` of the new detector.
        old: of the checkpoint.
        same_backbone: the new backbone is the checkpoint's, whose weights stay.
        anew: names that depend on the classes and do not keep all of their rows.

    Returns:
        A row for each of the new detector's tensors, in its order, and then those that only the checkpoint has.
    """
    broken = {_layer(name) for name in new if name in old and tuple(new[name]) != tuple(old[name])}
    rows = []
    for name in dict.fromkeys((*new, *old)):
        tensor = Tensor(name, new.get(name), old.get(name), _layer(name) not in broken, same_backbone, name in anew)
        rule = next(rule for rule in RULES if rule.holds(tensor))
        differs = rule.what == RESET and tensor.new != tensor.old
        rows.append(Row(name, rule.what, rule.why, f"{_sides(tensor.old)} -> {_sides(tensor.new)}" if differs else ""))
    return tuple(rows)


def _layer(name):
    """What is kept whole or not at all: bias and statistics mean nothing beside another layer's weights."""
    return name.rpartition(".")[0]


# --- what makes a swap impossible -----------------------------------------------------------------------------------

class Fact(NamedTuple):
    """A number that both must share, read off shapes (None: it cannot be told); the setting that changes it."""

    title: str
    of: Callable[[Shapes], int | None]
    setting: str


def _size(name, axis):
    return lambda shapes: shapes[name][axis] if name in shapes else None


def _count(prefix):
    pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
    return lambda shapes: len({found[1] for found in map(pattern.match, shapes) if found}) or None


SHARED = (
    Fact("levels of features", _count("neck.input_proj"), "the backbone's out_indices, or its adapter: auto"),
    Fact("levels of the decoder", _count("transformer.input_proj"), "RTDETRTransformer.num_levels"),
    Fact("hidden_dim of the neck", _size(FIRST_PROJECTION, 0), "HybridEncoder.hidden_dim"),
    Fact("hidden_dim of the transformer", _size("transformer.enc_score_head.weight", 0), "hidden_dim"),
)


def require_detector(old: Shapes, source: str, given: Iterable[str]) -> None:
    """Raise UserError where a file holds no RT-DETR.

    Args:
        old: what of it has the names of an RT-DETR, in Paddle.
        source: what messages call it.
        given: the names in the file.
    """
    lacking = [name for name in (FIRST_PROJECTION, SCORE_BIAS) if name not in old]
    if lacking:
        names = ", ".join(printable(name) for name, _ in zip(given, range(3)))
        raise UserError(f"'{source}' holds no RT-DETR to keep: it has no {lacking[0]} (it has {names}, ...); "
                        "swap_backbone takes a trained detector of PaddleDetection, lyuwenyu/RT-DETR or Hugging Face")


def require_alike(new: Shapes, old: Shapes, source: str) -> None:
    """Raise UserError where what was learnt cannot go on: other levels, another hidden size."""
    for fact in SHARED:
        here, there = fact.of(new), fact.of(old)
        if here is not None and there is not None and here != there:
            raise UserError(f"swap_backbone: '{source}' has {there} as {fact.title}, the new detector {here}: nothing "
                            f"after the backbone would fit; set {fact.setting} so that both have {there}")


def difference(new: Shapes, old: Shapes) -> str:
    """How two backbones differ by names and shapes, in words; '' where they do not."""
    for name in dict.fromkeys((*new, *old)):
        here, there = new.get(name), old.get(name)
        if here is None or there is None:
            return f"{printable(name)} is in the {'checkpoint' if here is None else 'new backbone'} only"
        if tuple(here) != tuple(there):
            return f"{printable(name)} is {_sides(there)} in the checkpoint and {_sides(here)} in the new backbone"
    return ""


def class_names_pair(own: Iterable[str] | None, theirs: Iterable[str] | None) -> dict[str, str] | None:
    """A ``class_map`` of the names that both have; None where they are the same, not known, or share none."""
    own, theirs = list(own or ()), list(theirs or ())
    if own == theirs:
        return None
    return {name: name for name in own if name in set(theirs)} or None


def depends_on_classes(names: Iterable[str]) -> list[str]:
    """Those of some Paddle names that have an axis of classes."""
    return [name for name in names if name_rules.class_axis(name) is not None]
