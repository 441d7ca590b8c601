# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Boxes on pictures, and detections as text and as COCO results."""
from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

# COCO's category numbers leave these out
_COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_CATEGORIES = [number for number in range(1, 91) if number not in _COCO_GAPS]


def class_colour(index: int) -> tuple[int, int, int]:
    """A bright RGB colour per class number, the same in every run; neighbours lie far apart (golden angle)."""
    red, green, blue = colorsys.hsv_to_rgb((index * 0.618034) % 1.0, 0.9, 0.9)
    return int(red * 255), int(green * 255), int(blue * 255)


def keep(boxes: np.ndarray, threshold: float) -> np.ndarray:
    """The rows of boxes [N, 6] (class, score, x1, y1, x2, y2) whose score is not below ``threshold``; nan stays."""
    return boxes[~(boxes[:, 1] < threshold)]


def draw_boxes(image: np.ndarray, boxes: np.ndarray, labels: Sequence[str] | Mapping[int, str],
               threshold: float = 0.5) -> np.ndarray:
    """A copy of ``image`` with its boxes, their class names and scores; the best ones on top.

    Args:
        image: uint8 RGB [H, W, 3].
        boxes: [N, 6] of (class, score, x1, y1, x2, y2) in pixels; a score of nan (ground truth) is not written.
        labels: class names: a list, or {class number: name}.
        threshold: least score that is drawn.
    """
    image = np.ascontiguousarray(image).copy()
    scale = max(0.4, min(image.shape[:2]) / 1200)
    thickness = max(1, round(min(image.shape[:2]) / 320))
    boxes = keep(boxes, threshold)
    for number, score, *corners in boxes[np.argsort(boxes[:, 1], kind="stable")]:
        colour = class_colour(int(number))
        x1, y1, x2, y2 = (round(float(value)) for value in corners)
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, thickness)
        text = _name(labels, int(number)) + ("" if np.isnan(score) else f" {score:.2f}")
        (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        # inside the picture also where the box touches its upper edge
        bottom = max(y1, height + base)
        cv2.rectangle(image, (x1, bottom - height - base), (x1 + width, bottom), colour, cv2.FILLED)
        cv2.putText(image, text, (x1, bottom - base // 2), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1,
                    cv2.LINE_AA)
    return image


def _name(labels, number):
    try:
        return labels[number]
    except (IndexError, KeyError):
        return str(number)


def describe(boxes: np.ndarray, threshold: float = 0.5) -> list[str]:
    """One line per box that is kept, in PaddleDetection's words."""
    return [f"class_id:{int(number)}, confidence:{score:.4f}, left_top:[{x1:.2f},{y1:.2f}],"
            f"right_bottom:[{x2:.2f},{y2:.2f}]" for number, score, x1, y1, x2, y2 in keep(boxes, threshold)]


def coco_results(boxes: np.ndarray, image_id: int, file_name: str,
                 categories: Sequence[int] | None = None) -> list[dict]:
    """COCO result records, bbox as (x, y, width, height); ``categories`` maps class numbers to category numbers."""
    return [{"image_id": image_id, "category_id": categories[int(number)] if categories else int(number),
             "file_name": file_name, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
            for number, score, x1, y1, x2, y2 in boxes.tolist()]
