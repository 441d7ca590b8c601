# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Why a detector does not learn a few images by heart: one step is looked at, then a table of causes in order."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from paddle import nn
from ppdet.core.workspace import create

from ..data.reading import as_tensors, read_batch
from ..engine.divergence import first_not_finite
from ..engine.replay import first_layer
from ..errors import UserError
from ..registry.user_class import as_features
from ..weights.pretrained_weights import RANDOM

if TYPE_CHECKING:
    from .trainer import Trainer

SAME = 1e-4  # features whose spread over images is below this share of their whole spread are the same for all
DEAD = 0.5  # share of channels without any spread that is worth a word
TOO_BRIGHT, TOO_FLAT = 10.0, 0.01  # mean size of pixels, and their deviation, that no NormalizeImage gives
READERS_DIFFER = 0.05  # of the same picture's pixels, in the network's units
TINY_BOX = 6.0  # pixels at the size of the run
UNUSED = 0.1  # share of a backbone's parameters; a classifier that nobody asks is less
NAMES = 3  # that a line gives as examples


@dataclasses.dataclass
class Look:
    """What one step shows, and later what the run came to.

    Attributes:
        config_rate: LearningRate.base_lr as the config has it.
        random: the backbone's weights are known to come from no file; None where that is not known.
        images: float32 [B, C, H, W], as the network gets them.
        boxes, classes: of all objects of the batch, as the reader gives them (any form): [N, 4], [N].
        num_classes: of the config.
        box_sides: [N, 2] in pixels at the size of the run.
        readers_differ: most by which TrainReader's and EvalReader's pixels of one picture differ, where both have some
            (one of them may pad it more).
        features: the backbone's, float32 [B, C, H, W] each; [] without a backbone.
        broken: the first layer or parameter that is not finite; ''.
        learns: {parameter's name: whether a gradient other than 0 reached it} of those that are to learn. Branches
            that begin with a factor of 0 (ResNets do) have a gradient of 0 in the first step.
        unused: names of those that took no part in the loss at all.
        factors: {parameter's name: factor on the learning rate} of the same.
        frozen: names of parameters that are not to learn.
        losses: of the run's steps.
        ap: on the images; None before, and where nothing was found.
        ap_by_batch: the same where BatchNorm takes each batch's own statistics; None where that was not tried.
    """
    config_rate: float
    random: bool | None
    images: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    num_classes: int
    box_sides: np.ndarray
    readers_differ: float = 0.0
    features: list[np.ndarray] = dataclasses.field(default_factory=list)
    broken: str = ""
    learns: dict[str, bool] = dataclasses.field(default_factory=dict)
    unused: list[str] = dataclasses.field(default_factory=list)
    factors: dict[str, float] = dataclasses.field(default_factory=dict)
    frozen: list[str] = dataclasses.field(default_factory=list)
    losses: list[float] = dataclasses.field(default_factory=list)
    ap: float | None = None
    ap_by_batch: float | None = None

    def of_backbone(self, names: Sequence[str] | Mapping[str, Any]) -> list[str]:
        """Those of the names that are the backbone's."""
        return [name for name in names if name.startswith("backbone.")]


# --- looking ---------------------------------------------------------------------------------------------------------

def look(trainer: Trainer, config_rate: float, batch_size: int) -> Look:
    """One forward and backward pass over the first images; no weight moves.

    Raises:
        UserError: a picture cannot be read.
    """
    records = trainer.dataset.roidbs[:batch_size]
    batch = read_batch(create("TrainReader"), records)
    # transforms that make targets of the boxes (Gt2FCOSTarget) take them out of the batch
    shown = batch if "gt_bbox" in batch else {"gt_bbox": [_shares(record) for record in records],
                                              "gt_class": [record["gt_class"] for record in records]}
    boxes, classes = (_rows(shown[key], width) for key, width in (("gt_bbox", 4), ("gt_class", 1)))
    found = Look(config_rate, _is_random(trainer), np.asarray(batch["image"], "float32"), boxes, classes.ravel(),
                 trainer.cfg["num_classes"], _sides(records, batch), _readers_differ(records[:1]))
    model = trainer.model
    for name, parameter in model.named_parameters():
        if parameter.stop_gradient:
            found.frozen.append(name)
        else:
            found.factors[name] = float(parameter.optimize_attr.get("learning_rate", 1.0))
    if labels(found):  # which would end in an error of the loss that says less
        return found
    _one_pass(trainer, as_tensors(batch), found)
    return found


def _rows(value: Any, width: int) -> np.ndarray:
    """All objects of a batch, [N, width]; readers give a list, or one array that is padded with zeros."""
    parts = [np.asarray(part, "float64").reshape(-1, width) for part in (value if value is not None else ())]
    return np.concatenate(parts) if parts else np.zeros((0, width))


def _sides(records: Sequence[dict[str, Any]], batch: Mapping[str, Any]) -> np.ndarray:
    """[N, 2] pixels that boxes measure once pictures have the run's size."""
    longest = max(np.shape(batch["image"])[-2:])
    sides = []
    for record in records:
        boxes, size = np.asarray(record["gt_bbox"], "float64"), max(float(record["w"]), float(record["h"]))
        sides.append((boxes[:, 2:] - boxes[:, :2]) * longest / size)
    return np.concatenate(sides)


def _shares(record: Mapping[str, Any]) -> np.ndarray:
    """A record's boxes as shares of its picture, [N, 4]."""
    return np.asarray(record["gt_bbox"], "float64") / np.tile([float(record["w"]), float(record["h"])], 2)


def _readers_differ(records: Sequence[dict[str, Any]]) -> float:
    bare = [{key: value for key, value in record.items() if not key.startswith(("gt_", "is_crowd"))}
            for record in records]
    trained, seen = (np.asarray(read_batch(create(reader), given)["image"], "float64")
                     for reader, given in (("TrainReader", records), ("EvalReader", bare)))
    height, width = (min(sides) for sides in zip(trained.shape[-2:], seen.shape[-2:]))
    return float(np.abs(trained[..., :height, :width] - seen[..., :height, :width]).max())


def _is_random(trainer: Trainer) -> bool | None:
    if trainer.started_from:
        return False
    source = getattr(getattr(trainer.model, "backbone", None), "weights_source", None)
    return None if source is None else source == RANDOM


def _one_pass(trainer: Trainer, batch: dict[str, Any], found: Look) -> None:
    """Fill in features, what is not finite, and which parameters a gradient reaches."""
    model = trainer.model
    model.train()
    with watched_features(model, found.features):
        try:
            with trainer.precision.auto_cast():
                losses = model({**batch, "epoch_id": 0})
            finite = bool(np.isfinite(float(losses["loss"])))
        except Exception:  # NaN can end in any error
            found.broken = _first_broken(model, batch)
            if not found.broken:
                raise
            return
    if not finite or not all(np.isfinite(feature).all() for feature in found.features):
        found.broken = _first_broken(model, batch) or "the loss"
        return
    losses["loss"].backward()
    learning = {name: value for name, value in model.named_parameters() if not value.stop_gradient}
    found.learns = {name: value.grad is not None and bool(value.grad.abs().max() > 0)
                    for name, value in learning.items()}
    found.unused = [name for name, value in learning.items() if value.grad is None]
    found.broken = first_not_finite({f"the gradient of {name}": value.grad for name, value in learning.items()
                                     if value.grad is not None})
    trainer.optimizer.clear_grad(set_to_zero=False)


class watched_features:
    """Inside, ``features`` holds what the model's backbone gave last, as float32 arrays."""

    def __init__(self, model: nn.Layer, features: list[np.ndarray]) -> None:
        self.backbone, self.features = getattr(model, "backbone", None), features

    def __enter__(self) -> watched_features:
        self.handle = None if self.backbone is None else self.backbone.register_forward_post_hook(self._keep)
        return self

    def _keep(self, layer: nn.Layer, given: Any, made: Any) -> None:
        try:
            maps = as_features(made)
        except UserError:  # another architecture's backbone may give what it likes
            maps = []
        self.features[:] = [feature.astype("float32").numpy() for feature in maps]

    def __exit__(self, *error: object) -> None:
        if self.handle is not None:
            self.handle.remove()


def _first_broken(model: nn.Layer, batch: dict[str, Any]) -> str:
    """The first parameter, else the first layer's output, that is not finite; '' where all are."""
    # statistics of a BatchNorm are moved by the pass itself, so they say nothing of where it began
    broken = first_not_finite({name: value for name, value in model.named_parameters()
                               if not name.endswith(("_mean", "_variance"))})
    if broken:
        return f"parameter {broken}"
    # of the model itself nothing is said: that its loss is not finite is known
    return first_layer(model, lambda: model({**batch, "epoch_id": 0}),
                       lambda name, layer, given: f"the output of {name}" if name else "")


# --- causes: each gives its words, or '' -----------------------------------------------------------------------------

def not_finite(seen: Look) -> str:
    if not seen.broken:
        return ""
    return f"NaN or infinite numbers, first in {seen.broken}: the weights there are damaged, or the layer divides by 0"


def rate_is_zero(seen: Look) -> str:
    if not seen.config_rate:
        return "LearningRate.base_lr is 0 in the config: nothing would learn; write e.g. 0.0001"
    names = seen.of_backbone(seen.factors)
    if names and not any(seen.factors[name] for name in names) and seen.random is not False:
        return "the backbone's factor on the learning rate is 0 (lr_mult_list or param_groups): it never learns"
    return ""


def labels(seen: Look) -> str:
    if not len(seen.boxes):
        return "no box reaches the loss: TrainReader's transforms have dropped all of them"
    wrong = seen.classes[(seen.classes < 0) | (seen.classes >= seen.num_classes)]
    if len(wrong):
        return (f"class number {int(wrong[0])} is not among the {seen.num_classes} of num_classes (0 to "
                f"{seen.num_classes - 1})")
    return ""


def same_features(seen: Look) -> str:
    if _spread(seen.images) < SAME or not all(np.isfinite(feature).all() for feature in seen.features):
        return ""
    same = [place for place, feature in enumerate(seen.features) if len(feature) > 1 and _spread(feature) < SAME]
    which = "all features" if len(same) == len(seen.features) else f"features {same} (counted from 0)"
    return f"{which} of the backbone are the same for every image: its output does not depend on the picture" \
        if same else ""


def _spread(maps: np.ndarray) -> float:
    """Deviation over the images as a share of the whole deviation; [B, C, H, W]."""
    whole = float(maps.std(dtype="float64"))
    return float(maps.std(axis=0, dtype="float64").mean()) / whole if whole > 1e-12 else 0.0


def frozen_at_random(seen: Look) -> str:
    frozen, learning = seen.of_backbone(seen.frozen), seen.of_backbone(seen.factors)
    if frozen and not learning and seen.random:
        return (f"the backbone is frozen at random values: none of its {len(frozen)} parameters learns (freeze_at, "
                "freeze_norm), and no weights were loaded; set pretrained, or freeze less")
    return ""


def no_gradient(seen: Look) -> str:
    names = seen.of_backbone(seen.learns)
    if names and not any(seen.learns[name] for name in names):
        return (f"no gradient reaches the backbone: none of its {len(names)} parameters that should learn got one; "
                "look for detach(), stop_gradient, no_grad() or numpy() in its forward")
    return ""


def part_without_gradient(seen: Look) -> str:
    parts: dict[str, list[bool]] = {}
    for name, learns in seen.learns.items():
        parts.setdefault(name.partition(".")[0], []).append(learns)
    dead = [part for part, learns in parts.items() if not any(learns) and part != "backbone"]
    return f"no gradient reaches {', '.join(dead)}" if dead else ""


def unused_parameters(seen: Look) -> str:
    unused, learning = seen.of_backbone(seen.unused), seen.of_backbone(seen.learns)
    if len(unused) <= UNUSED * len(learning):
        return ""
    return (f"{len(unused)} of the backbone's {len(learning)} parameters take no part in the loss, such as "
            f"{', '.join(unused[:NAMES])}: a stage is not used")


def frozen(seen: Look) -> str:
    names = seen.of_backbone(seen.frozen)
    of = len(names) + len(seen.of_backbone(seen.factors))
    return f"{len(names)} of the backbone's {of} parameters are frozen" if len(names) > of / 2 else ""


def dead_channels(seen: Look) -> str:
    shares = [float((feature.std(axis=(0, 2, 3)) < 1e-6).mean()) for feature in seen.features]
    dead = [f"{share:.0%} of feature {place}" for place, share in enumerate(shares) if share > DEAD]
    return f"dead channels, which are the same everywhere: {', '.join(dead)}" if dead else ""


def boxes_outside(seen: Look) -> str:
    most, side = float(np.abs(seen.boxes).max()) if len(seen.boxes) else 0.0, max(seen.images.shape[-2:])
    return "" if most <= 1.05 * side else \
        f"boxes reach outside of the picture: {most:g} where pictures have {side} pixels"


def tiny_boxes(seen: Look) -> str:
    share = float((seen.box_sides.min(axis=1) < TINY_BOX).mean()) if len(seen.box_sides) else 0.0
    return f"{share:.0%} of the boxes are smaller than {TINY_BOX:g} pixels at this size" if share > 0.3 else ""


def pixels(seen: Look) -> str:
    size, spread = float(np.abs(seen.images).mean()), float(seen.images.std())
    if size > TOO_BRIGHT:
        return f"pixels are not normalised (their mean size is {size:.0f}): TrainReader has no NormalizeImage"
    return f"pixels hardly differ (deviation {spread:.4f}): they are normalised twice, or by wrong numbers" \
        if spread < TOO_FLAT else ""


def readers(seen: Look) -> str:
    return "" if seen.readers_differ <= READERS_DIFFER else \
        f"TrainReader and EvalReader prepare the same picture differently (pixels differ by up to " \
        f"{seen.readers_differ:.2f}): compare their transforms"


def statistics_lag(seen: Look) -> str:
    if seen.ap is None or seen.ap_by_batch is None or seen.ap_by_batch < max(0.5, 1.5 * seen.ap):
        return ""
    return (f"with each batch's own statistics AP is {seen.ap_by_batch:.2f}: BatchNorm's running statistics do not "
            "fit; look at the momentum of the norms, or freeze_norm")


def loss_rose(seen: Look) -> str:
    if len(seen.losses) < 2 * AVERAGED or ends(seen)[1] < ends(seen)[0]:
        return ""
    return "the loss rose: the rate is too high for this network, or its start is too wild (look at its initialisation)"


AVERAGED = 10  # steps of which a loss is averaged


def ends(seen: Look) -> tuple[float, float]:
    """The loss at the start and at the end: means over some steps, fewer in a very short run."""
    some = max(min(AVERAGED, len(seen.losses) // 2), 1)
    return float(np.mean(seen.losses[:some])), float(np.mean(seen.losses[-some:]))


#: faults: with one of them nothing can be learnt as it should, whatever AP a few images reach; the root of others first
FAULTS: tuple[Callable[[Look], str], ...] = (
    same_features, not_finite, rate_is_zero, labels, frozen_at_random, no_gradient)
#: what may be why, where AP stays low; looked at after the faults
LIKELY: tuple[Callable[[Look], str], ...] = (
    part_without_gradient, unused_parameters, frozen, dead_channels, boxes_outside, pixels, readers, statistics_lag,
    tiny_boxes, loss_rose)


def faults(seen: Look) -> list[str]:
    """What cannot work, in words."""
    return [words for words in (cause(seen) for cause in FAULTS) if words]


def likely(seen: Look) -> list[str]:
    """What may be why AP is low where there is no fault, the likeliest first."""
    return [words for words in (cause(seen) for cause in LIKELY) if words]
