# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The features stage by stage: shape, stride, channels, receptive field, values; against what the neck expects."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle

from ..errors import UserError
from ..registry.user_class import NECK_STRIDES, NoFeatures
from . import receptive_field
from .backbone_subject import Subject
from .findings import FAILED, OK, SKIPPED, WARNING, Report

MANY_DEAD = 0.5  # share of a stage's channels from which it is worth a warning
FLAT = 1e-6  # a channel is dead where its values differ by less than this share of the stage's largest


@dataclass
class Stage:
    """One feature as it is.

    Attributes:
        shape: of the tensor, whatever it is.
        stride: image height over map height; None for what is no [B, C, H, W].
        wanted: (stride, channels) that the backbone's out_shape promises and the neck is built for; None without.
        mean, deviation: of all its values.
        dead: share of channels that have one value everywhere.
        seen: its receptive field; None where it was not measured.
        values: float32 array, for the picture.
    """

    shape: tuple[int, ...]
    stride: float | None
    channels: int | None
    wanted: tuple[int, int] | None
    mean: float = float("nan")
    deviation: float = float("nan")
    dead: float = 0.0
    seen: receptive_field.ReceptiveField | None = None
    values: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)

    @property
    def fits(self) -> bool:
        """Whether stride and channels are those wanted."""
        return self.wanted is not None and (self.stride, self.channels) == self.wanted

    def as_dict(self) -> dict[str, Any]:
        """Plain data; numbers that are not finite become None, as strict JSON has none."""
        numbers = {"mean": self.mean, "deviation": self.deviation, "dead_channels": self.dead}
        return {"shape": list(self.shape), "stride": self.stride, "channels": self.channels,
                "wanted": dict(zip(("stride", "channels"), self.wanted)) if self.wanted else None, "fits": self.fits,
                **{key: float(value) if np.isfinite(value) else None for key, value in numbers.items()},
                "theoretical_field": list(self.seen.theoretical) if self.seen else None,
                "whole_image": self.seen.whole if self.seen else None,
                "effective_field": round(self.seen.effective, 1) if self.seen else None}


def check(subject: Subject, image: paddle.Tensor, report: Report) -> list[Stage]:
    """Run the backbone once; see what comes out, and whether the neck takes it.

    Args:
        image: [1, 3, H, W], normalised; it takes gradients, for the receptive fields.
    """
    specs = _specs(subject, report)
    with subject.frozen():
        features = _features(subject, image, report)
    wanted = [(spec.stride, spec.channels) for spec in specs or ()]
    stages = [_stage(feature, image, wanted[index] if index < len(wanted) else None)
              for index, feature in enumerate(features)]
    if specs is not None and features:
        _check_shapes(stages, wanted, report)
        if not any(finding.check == "features" for finding in report.of(FAILED)):
            _check_neck(subject, specs, features, report)
        else:
            report.add("neck", SKIPPED, "it has to have other features first")
    _check_values(stages, report)
    report.stages = [stage.as_dict() for stage in stages]
    return stages


def _specs(subject, report):
    """[ShapeSpec] that the backbone promises; None where they cannot be found, which is reported."""
    try:
        return list(subject.backbone.out_shape)
    except UserError as error:
        report.add("out_shape", FAILED, str(error))
    return None


def _features(subject, image, report):
    try:
        return list(subject.run(image))
    except NoFeatures as error:
        report.add("features", FAILED, str(error))
    except UserError as error:
        if "out_shape" not in str(error):
            report.add("features", FAILED, str(error))
            return []
    except Exception as error:  # whatever a user's forward may raise
        report.add("features", FAILED, f"forward fails: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return []
    return subject.run_unchecked(image)


def _stage(feature, image, wanted):
    shape = tuple(int(side) for side in feature.shape)
    values = feature.detach().astype("float32").numpy()
    stage = Stage(shape, None, None, wanted, float(values.mean()), float(values.std()), values=values)
    if len(shape) != 4:
        return stage
    strides = [side / cells for side, cells in zip(image.shape[2:], shape[2:])]
    stage.stride = int(strides[0]) if strides[0] == int(strides[0]) else round(strides[0], 2)
    stage.channels = shape[1]
    spread = values.max(axis=(0, 2, 3)) - values.min(axis=(0, 2, 3))
    stage.dead = float((spread <= FLAT * np.abs(values).max()).mean())
    if np.isfinite(values).all():
        stage.seen = receptive_field.of_feature(feature, image)
    return stage


def _check_shapes(stages: Sequence[Stage], wanted: Sequence[tuple[int, int]], report: Report) -> None:
    given = [(stage.stride, stage.channels) for stage in stages]
    if given == list(wanted):
        report.add("features", OK, f"strides (channels) {_listed(given)}, as out_shape says")
        return
    if sorted(given, key=str) == sorted(wanted, key=str):
        report.add("features", FAILED, f"the features come in the wrong order, at strides (channels) {_listed(given)}; "
                   f"out_shape says {_listed(wanted)}: return them finest first, [c3, c4, c5]")
        return
    turned = [index for index, stage in enumerate(stages) if _channels_last(stage)]
    if turned:
        report.add("features", FAILED, f"the features have their channels last ({list(stages[turned[0]].shape)}); "
                   "give [B, C, H, W]: feature.transpose([0, 3, 1, 2])")
        return
    report.add("features", FAILED, f"out_shape says strides (channels) {_listed(wanted)}, but forward gives "
               f"{_listed(given)}; mend out_shape, or leave it out: it is found by itself")


def _channels_last(stage):
    return stage.wanted is not None and len(stage.shape) == 4 and stage.shape[3] == stage.wanted[1] != stage.shape[1]


def _listed(rows):
    return ", ".join(f"{'?' if stride is None else f'{stride:g}'} ({'?' if channels is None else channels})"
                     for stride, channels in rows) or "none"


def _check_neck(subject, specs, features, report):
    """The neck that the detector would have, made for these features and given them."""
    strides = [spec.stride for spec in specs]
    if strides == sorted(NECK_STRIDES, reverse=True):
        report.add("neck", FAILED, f"the features come coarsest first (strides {strides}); return them finest first, "
                   "[c3, c4, c5]")
        return
    try:
        neck = subject.neck(specs)
        if neck is None:
            report.add("neck", OK, "this detector has none")
            return
        with paddle.no_grad():
            given = neck([feature.detach() for feature in features])
    except UserError as error:
        report.add("neck", FAILED, str(error))
        return
    except Exception as error:  # whatever Paddle makes of tensors that do not fit
        report.add("neck", FAILED, f"{type(error).__name__} in the neck: {' '.join(str(error).split())[:200]}")
        return
    report.add("neck", OK, f"{type(neck).__name__} takes them and gives {len(given)} maps of {given[0].shape[1]} "
               "channels")
    if strides != list(NECK_STRIDES):
        report.add("neck", WARNING, f"RT-DETR is trained with features at strides {list(NECK_STRIDES)}, these are at "
                   f"{strides}")


def _check_values(stages, report):
    """Stages that say nothing, and many channels that do not."""
    silent = [index for index, stage in enumerate(stages) if stage.dead == 1.0]
    if silent:
        report.add("values", FAILED, f"stage {', '.join(map(str, silent))}: every channel has one value everywhere")
        return
    dead = [f"{stage.dead:.0%} of stage {index}" for index, stage in enumerate(stages) if stage.dead >= MANY_DEAD]
    if dead:
        report.add("values", WARNING, f"channels of one value everywhere: {', '.join(dead)}, on this picture")
    elif stages:
        report.add("values", OK, f"at most {max(stage.dead for stage in stages):.0%} of a stage's channels are dead on "
                   "this picture")
