# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pictures beside each other under titles."""
from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

# font, size and thickness of the titles, and the white around them in pixels
TITLE = (cv2.FONT_HERSHEY_SIMPLEX, 0.55, 1)
MARGIN = 6


def beside(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], height: int = 320) -> np.ndarray:
    """Rows of pictures -> one picture; each picture scaled to ``height`` pixels, the titles whole over the columns."""
    rows = [[cv2.resize(image, (max(1, image.shape[1] * height // image.shape[0]), height)) for image in row]
            for row in rows]
    widths = [max(cv2.getTextSize(title, *TITLE)[0][0] + 2 * MARGIN, *(image.shape[1] for image in column))
              for title, column in zip(titles, zip(*rows))]
    header = np.full((28, sum(widths), 3), 255, np.uint8)
    font, size, thickness = TITLE
    for i, title in enumerate(titles):
        cv2.putText(header, title, (sum(widths[:i]) + MARGIN, 20), font, size, (0, 0, 0), thickness, cv2.LINE_AA)
    padded = [np.hstack([np.pad(image, ((0, 4), (0, width - image.shape[1]), (0, 0)), constant_values=255)
                         for image, width in zip(row, widths)]) for row in rows]
    return np.vstack([header, *padded])
