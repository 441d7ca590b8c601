# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""All checks of a backbone, in their order."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle

from .. import kernels
from . import (
    exported_program,
    finite_numbers,
    gradient_flow,
    image_sizes,
    random_start,
    stage_table,
    torch_parity,
    weights_origin,
)
from .backbone_subject import Subject
from .findings import FAILED, OK, SKIPPED, Report


def verify(subject: Subject, image: np.ndarray, allow: Sequence[str] = ()) -> tuple[Report, list[stage_table.Stage]]:
    """Hold a backbone against all that it needs.

    Args:
        subject: it is changed: export translates it, a random start is stirred.
        image: float32 [1, 3, H, W], normalised.
        allow: patterns of parameter names that may start from random values.

    Returns:
        The report, and the stages with their values for ``feature_picture``.
    """
    report = Report(subject.name, subject.size)
    for text in subject.notes:
        report.add("adapter", OK, text)

    def timed(name: str, function: Callable[..., Any], *args: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*args)
        finally:
            report.seconds[name] = time.perf_counter() - started

    with kernels.enabled():
        timed("weights", weights_origin.check, subject, report, allow)
        given = paddle.to_tensor(image, stop_gradient=False)
        if subject.random:
            random_start.settle(subject.backbone, lambda: subject.run_unchecked(given.detach()))
        stages = timed("stages", stage_table.check, subject, given, report)
        finite = timed("finite numbers", finite_numbers.check, subject, stages, given.detach(), report)
        if stages:
            timed("gradients", gradient_flow.check, subject, given, report)
        if stages and finite:
            timed("parity", torch_parity.check, subject, given.detach(), report)
        if not finite or any(finding.check in ("features", "out_shape") for finding in report.of(FAILED)):
            report.add("export", SKIPPED, "its features are not what a detector can take")
        else:
            timed("image sizes", image_sizes.check, subject, report)
            timed("export", exported_program.check, subject, given, report)
        timed("normalisation", weights_origin.check_normalisation, subject, report)
    report.seconds["all"] = time.perf_counter() - report.started
    return report, stages
