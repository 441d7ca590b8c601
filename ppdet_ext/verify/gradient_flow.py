# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Does every parameter that is to be trained get a gradient?"""
from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import paddle

from ..nn.norms import STATISTICS
from ..weights.load_report import fold
from .backbone_subject import Subject
from .findings import FAILED, OK, WARNING, Report

SHOWN = 4


def check(subject: Subject, image: paddle.Tensor, report: Report) -> None:
    """Go back from the features of the picture, made smaller, to every trainable parameter.

    The loss weighs all values at random: plain means of normalised values have no gradient.
    """
    parameters = {name: value for name, value in subject.backbone.named_parameters() if not name.endswith(STATISTICS)}
    trainable = {name: value for name, value in parameters.items() if not value.stop_gradient}
    if not trainable:
        report.add("gradients", FAILED, f"all {len(parameters)} parameters are frozen: nothing of the backbone is "
                   "trained (freeze_at, freeze_norm, stop_gradient)")
        return
    random = np.random.RandomState(1)
    features = subject.run_unchecked(subject.shrunk(image))
    losses = [(feature * paddle.to_tensor(random.standard_normal(feature.shape).astype("float32"))).mean()
              for feature in features if not feature.stop_gradient]
    if not losses:
        report.add("gradients", FAILED, "the features do not depend on any trainable parameter (no_grad or detach in "
                   "forward?)")
        return
    paddle.add_n(losses).backward()
    unused = [name for name, value in trainable.items() if value.grad is None]
    dead = [name for name, value in trainable.items() if value.grad is not None
            and not bool(paddle.any(value.grad != 0))]
    broken = [name for name, value in trainable.items() if value.grad is not None
              and not bool(paddle.isfinite(value.grad).all())]
    # of a network by name a part may serve features alone that are not taken
    for names, status, words in (
            (unused, WARNING if subject.is_named else FAILED, "are never used: no way leads from the features to"),
            (dead, FAILED, "get a gradient that is zero everywhere:"),
            (broken, FAILED, "get a gradient with NaN or infinite numbers:")):
        if names:
            report.add("gradients", status, f"{len(names)} of {len(trainable)} trainable parameters {words} "
                       f"{_shown(modules_of(names, parameters))}")
    if not (unused or dead or broken):
        frozen = len(parameters) - len(trainable)
        report.add("gradients", OK, f"all {len(trainable)} trainable parameters get one"
                   + (f"; {frozen} are frozen" if frozen else ""))
    if len(trainable) < len(parameters) and subject.random:
        report.add("gradients", WARNING, f"{len(parameters) - len(trainable)} parameters are frozen at random values, "
                   "which never change")


def modules_of(names: Iterable[str], among: Iterable[str]) -> list[str]:
    """The highest modules all of whose parameters (of ``among``) are in ``names``; else the names themselves."""
    chosen, everything = set(names), list(among)
    found: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        prefixes = [".".join(parts[:length]) for length in range(1, len(parts))]
        whole = next((prefix for prefix in prefixes
                      if all(other in chosen for other in everything if other.startswith(f"{prefix}."))), name)
        found[whole] = None
    return list(found)


def _shown(names):
    folded = fold(names)
    return ", ".join(folded[:SHOWN]) + (f" and {len(folded) - SHOWN} more" if len(folded) > SHOWN else "")
