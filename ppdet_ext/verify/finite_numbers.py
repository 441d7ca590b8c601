# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""NaN and infinite numbers: in weights and statistics, and the first layer that gives them."""
from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn

from ..nn.norms import STATISTICS
from ..weights.load_report import fold
from . import with_hooks
from .backbone_subject import Subject
from .findings import FAILED, OK, Report
from .stage_table import Stage


def weights_with_nan(network: nn.Layer) -> list[str]:
    """Names of parameters and running statistics that hold such numbers; constants may (a mask's -inf)."""
    kept = {name for name, _ in network.named_parameters()}
    return [name for name, value in network.state_dict().items()
            if (name in kept or name.endswith(STATISTICS)) and value.is_floating_point()
            and not bool(paddle.isfinite(value).all())]


def first_layer(subject: Subject, image: paddle.Tensor) -> str:
    """Path of the first layer whose output holds such numbers though its input does not; '' where none does."""
    found: list[str] = []

    def watch(path):
        def look(_layer, inputs, output):
            if not found and _finite(inputs) and not _finite(output):
                found.append(path)
        return look
    hooks = (layer.register_forward_post_hook(watch(path)) for path, layer in subject.backbone.named_sublayers()
             if not layer._sub_layers)
    with with_hooks.removing(hooks), paddle.no_grad():
        subject.run_unchecked(image)
    return found[0] if found else ""


def _finite(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_finite, value))
    return not (hasattr(value, "is_floating_point") and value.is_floating_point()) or \
        bool(paddle.isfinite(value).all())


def check(subject: Subject, stages: list[Stage], image: paddle.Tensor, report: Report) -> bool:
    """Look at weights and features; gives whether all are finite."""
    names = weights_with_nan(subject.backbone)
    if names:
        report.add("finite numbers", FAILED, f"NaN or infinite numbers in the weights: {', '.join(fold(names)[:4])}")
    bad = [str(index) for index, stage in enumerate(stages) if not np.isfinite(stage.values).all()]
    if bad:
        where = first_layer(subject, image)
        report.add("finite numbers", FAILED, f"NaN or infinite numbers in the features of stage {', '.join(bad)}"
                   + (f"; they begin in {where}" if where else ""))
    if not (names or bad):
        report.add("finite numbers", OK, "none is NaN or infinite in weights and features")
    return not (names or bad)
