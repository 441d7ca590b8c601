# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What models found on a picture: kept by score and class, as a table, as JSON and CSV. Knows no engine and no page."""
from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..deploy import visualize

COLUMNS = ("model", "class_id", "class", "score", "x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Found:
    """One model's detections on one picture.

    Attributes:
        model: what the model is called on the page.
        labels: its class names; a detection's class number is the index.
        boxes: [N, 6] of (class, score, x1, y1, x2, y2) in pixels of the picture, whatever the score.
        milliseconds: of each stage, as ``deploy.Timings`` names them.
    """

    model: str
    labels: Sequence[str]
    boxes: np.ndarray
    milliseconds: Mapping[str, float]

    def kept(self, threshold: float, classes: Collection[str] = ()) -> np.ndarray:
        """The boxes whose score is not below ``threshold``, of these classes (none: of all), the best first; [M, 6]."""
        boxes = visualize.keep(self.boxes, threshold)
        if classes:
            boxes = boxes[[self.name(number) in classes for number in boxes[:, 0]]]
        return boxes[np.argsort(-boxes[:, 1], kind="stable")]

    def name(self, number: float) -> str:
        """The class name of a number; the number itself where the model has no name for it."""
        number = int(number)
        return str(self.labels[number]) if 0 <= number < len(self.labels) else str(number)

    def rows(self, threshold: float, classes: Collection[str] = ()) -> list[dict[str, Any]]:
        """The boxes that are kept, each by COLUMNS; corners to a hundredth of a pixel."""
        return [dict(zip(COLUMNS, (self.model, int(number), self.name(number), round(score, 4),
                                   *(round(corner, 2) for corner in corners))))
                for number, score, *corners in self.kept(threshold, classes).tolist()]


def class_names(models: Sequence[Sequence[str]]) -> list[str]:
    """The class names of all models, each once, in the order of the first."""
    return list(dict.fromkeys(str(name) for labels in models for name in labels))


def as_json(picture: str, size: tuple[int, int], found: Sequence[Found], threshold: float,
            classes: Collection[str] = ()) -> str:
    """The boxes that are kept, with what they are of.

    Args:
        picture: its name.
        size: width, height.
    """
    models = [{"model": one.model, "milliseconds": {name: round(value, 2) for name, value in one.milliseconds.items()},
               "boxes": [{key: row[key] for key in COLUMNS[1:]} for row in one.rows(threshold, classes)]}
              for one in found]
    content = {"picture": picture, "width": size[0], "height": size[1], "threshold": threshold,
               "classes": list(classes), "models": models}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def as_csv(found: Sequence[Found], threshold: float, classes: Collection[str] = ()) -> str:
    """The boxes that are kept, a line each below COLUMNS."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for one in found:
        writer.writerows(one.rows(threshold, classes))
    return text.getvalue()
