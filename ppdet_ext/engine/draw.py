# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Boxes on pictures (ppdet 2.6.0's own drawing stopped working with Pillow 10)."""
import colorsys

import cv2
import numpy as np
from PIL import Image, ImageOps

from ..files import atomic_path

FONT = cv2.FONT_HERSHEY_SIMPLEX


def read_rgb(path):
    """An image file -> uint8 [H, W, 3], turned as its EXIF says (as ppdet's drawing does)."""
    with Image.open(path) as image:
        return np.ascontiguousarray(ImageOps.exif_transpose(image).convert("RGB"))


def class_colour(index):
    """A bright RGB colour that stays the same for a class; neighbours differ (golden-ratio steps of the hue)."""
    return tuple(int(255 * part) for part in colorsys.hsv_to_rgb(index * 0.61803 % 1, 0.85, 0.95))


def draw_boxes(image, boxes, names, threshold=0.5):
    """A copy of ``image`` with its boxes.

    Args:
        image: uint8 RGB [H, W, 3].
        boxes: [N, 6] of (class, score, x1, y1, x2, y2) in pixels; a score of nan is not written.
        names: class index -> name.
        threshold: least score that is drawn.
    """
    image = image.copy()
    size = max(0.4, min(image.shape[:2]) / 900)
    width = max(1, round(2 * size))
    for label, score, *corners in sorted(boxes, key=lambda box: box[1]):
        if score < threshold:
            continue
        colour = class_colour(int(label))
        x1, y1, x2, y2 = (int(round(float(c))) for c in corners)
        text = names.get(int(label), str(int(label))) + ("" if np.isnan(score) else f" {score:.2f}")
        (text_width, text_height), base = cv2.getTextSize(text, FONT, size, width)
        top = max(y1, text_height + base)
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, width)
        cv2.rectangle(image, (x1, top - text_height - base), (x1 + text_width, top), colour, -1)
        cv2.putText(image, text, (x1, top - base // 2), FONT, size, (255, 255, 255), width, cv2.LINE_AA)
    return image


def beside(rows, titles, height=320):
    """Rows of pictures -> one picture; each picture scaled to ``height`` pixels, the titles over the columns."""
    lines = []
    for row in rows:
        scaled = [cv2.resize(image, (max(1, image.shape[1] * height // image.shape[0]), height)) for image in row]
        lines.append(scaled)
    widths = [max(line[i].shape[1] for line in lines) for i in range(len(titles))]
    header = np.full((28, sum(widths), 3), 255, np.uint8)
    for i, title in enumerate(titles):
        cv2.putText(header, title, (sum(widths[:i]) + 6, 20), FONT, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    padded = [np.hstack([np.pad(image, ((0, 4), (0, width - image.shape[1]), (0, 0)), constant_values=255)
                         for image, width in zip(line, widths)]) for line in lines]
    return np.vstack([header, *padded])


def write(image, path):
    """Write an RGB picture under any suffix that Pillow knows."""
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, quality=95)
