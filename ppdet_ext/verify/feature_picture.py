# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A picture of the features of one image, stage by stage: their mean, the liveliest channels, the receptive field."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import atomic_path
from .findings import Report
from .stage_table import Stage

CHANNELS = 4
SIDE = 2.2  # inches of one map


def write(report: Report, stages: Sequence[Stage], pixels: np.ndarray, path: Path) -> None:
    """Write a PNG with one row a stage.

    Args:
        pixels: uint8 RGB [H, W, 3], the image.
    """
    from matplotlib.figure import Figure

    columns = 3 + CHANNELS
    shown = [stage for stage in stages if len(stage.shape) == 4]
    figure = Figure(figsize=(SIDE * columns, (SIDE + 0.25) * max(len(shown), 1) + 0.4), layout="constrained")
    figure.suptitle(report.verdict()[:150], fontsize=9)
    axes = figure.subplots(max(len(shown), 1), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    axes[0, 0].imshow(pixels)
    axes[0, 0].set_title("image", fontsize=8)
    for index, (stage, line) in enumerate(zip(shown, axes)):
        _draw(stage, line, f"stage {index}, stride {stage.stride:g}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=80)


def _draw(stage, line, title):
    values = np.nan_to_num(stage.values[0])
    line[1].imshow(np.abs(values).mean(axis=0), cmap="viridis")
    line[1].set_title(f"{title}: mean", fontsize=8)
    for axis, channel in zip(line[2:], np.argsort(-values.std(axis=(1, 2)))[:CHANNELS]):
        axis.imshow(values[channel], cmap="viridis")
        axis.set_title(f"channel {channel}", fontsize=8)
    if stage.seen is not None:
        energy = stage.seen.energy
        peak = energy.max() or 1.0
        line[-1].imshow(np.sqrt(energy / peak), cmap="magma")  # the root, or a few pixels are all that shows
        line[-1].set_title(f"field {stage.seen.theoretical[0]}x{stage.seen.theoretical[1]}, effective "
                           f"{stage.seen.effective:.0f}", fontsize=8)
