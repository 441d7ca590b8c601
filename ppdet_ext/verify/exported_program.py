# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The program that export makes of a network, against the network itself."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import nn

from .. import kernels
from ..weights import parity
from .backbone_subject import Subject
from .findings import FAILED, OK, Report


class AsDetectorSees(nn.Layer):
    """A backbone as a detector calls it, from an image alone."""

    def __init__(self, backbone: nn.Layer):
        super().__init__()
        self.backbone = backbone

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        """[B, 3, H, W] -> its features."""
        return list(self.backbone({"image": image}))


def export_error(ours: nn.Layer, size: Sequence[int | None], image: np.ndarray) -> float:
    """Features of the translated program, made for any batch (and any image size), against the layer's own.

    Both run the same kernels, so that a network that magnifies rounding is no excuse.
    """
    ours.eval()
    vars(ours).pop("forward", None)  # of a translation before
    with paddle.no_grad(), kernels.disabled():
        wanted = [feature.numpy() for feature in ours(paddle.to_tensor(image))]
        spec = [paddle.static.InputSpec([None, 3, *size], "float32", "image")]
        program = paddle.jit.to_static(ours, input_spec=spec, full_graph=True)
        found = program(paddle.to_tensor(image))
    return max(parity.relative_error(one.numpy(), other) for one, other in zip(found, wanted))


def check(subject: Subject, picture: paddle.Tensor, report: Report) -> None:
    """Translate the backbone as export does, for images of one size and any batch, and compare."""
    height, width = subject.smaller
    try:
        error = export_error(AsDetectorSees(subject.backbone), (height, width), subject.shrunk(picture).numpy())
    except Exception as failure:  # Paddle's translator fails in its own ways
        lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
        text = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "")
        report.add("export", FAILED, f"cannot be translated to a static program ({type(failure).__name__}: "
                   f"{text[:300]})")
        return
    good = error <= parity.LIMIT
    report.add("export", OK if good else FAILED, f"the static program for {height}x{width} gives "
               f"{'the same' if good else 'something else'}: max {error:.1e}")
