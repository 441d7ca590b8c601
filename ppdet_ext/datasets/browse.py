# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pictures as training sees them: a reader's batches turned back into pixels, with their boxes and class names.

What comes last in a reader is undone for drawing: normalised pixels, boxes as shares, boxes by their middle. All else
stays as the network gets it, its padding too.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..data.reading import as_tensors, read_places, restore_empty
from ..deploy.visualize import draw_boxes
from ..errors import UserError

CELL, GAP = 320, 6  # pixels: longest side of a picture in the grid, and the white around it
SIZE = "ppdet_ext_size"  # key of a sample: (height, width) to which its shares belong


class Seen(NamedTuple):
    """A picture as it goes into the network: RGB uint8 [h, w, 3]; boxes [N, 4], corners in its pixels; classes [N]."""

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray


class _NoteSize:
    """A transform that changes nothing: it notes a picture's size where its boxes become shares."""

    def __call__(self, data: Any, *context: Any) -> Any:
        for sample in data if isinstance(data, (list, tuple)) else [data]:
            sample[SIZE] = np.array(sample["image"].shape[:2])
        return data


def read(reader: Any, dataset: Any, count: int, normalised: tuple[Sequence[float], Sequence[float]]) -> Iterator[Seen]:
    """Pictures from all over a data set, by the reader's own batches.

    Args:
        reader: a ``TrainReader``, not started.
        dataset: ppdet's, parsed; its epoch counts.
        normalised: (mean, std) in 0..1 with which the reader normalises.

    Raises:
        UserError: a picture cannot be read, transforms do not fit it, or the reader gives no boxes.
    """
    names = _note_sizes(reader)
    places = np.linspace(0, len(dataset.roidbs) - 1, min(count, len(dataset.roidbs))).round().astype(int).tolist()
    for start in range(0, len(places), reader.batch_size):
        batch = restore_empty(as_tensors(read_places(reader, dataset, places[start:start + reader.batch_size])))
        if "gt_bbox" not in batch or "image" not in batch:
            raise UserError("TrainReader gives no pictures with gt_bbox, which are to be drawn here")
        for number in range(len(batch["image"])):
            yield _seen({key: np.asarray(value[number]) for key, value in batch.items() if key in KEYS}, names,
                        normalised)


KEYS = ("image", "gt_bbox", "gt_class", "pad_gt_mask", SIZE)


def _note_sizes(reader):
    """The names of a reader's transforms; before NormalizeBox there is a _NoteSize now."""
    names = []
    for compose in (reader._sample_transforms, reader._batch_transforms):
        own = [type(getattr(transform, "transform", transform)).__name__ for transform in compose.transforms_cls]
        names += own
        if "NormalizeBox" in own:
            compose.transforms_cls.insert(own.index("NormalizeBox"), _NoteSize())
    return names


def _seen(sample: Mapping[str, np.ndarray], names: Sequence[str], normalised: Any) -> Seen:
    image, boxes, classes = sample["image"], sample["gt_bbox"].astype(float).reshape(-1, 4), sample["gt_class"].ravel()
    if image.shape[0] == 3:
        image = image.transpose(1, 2, 0)
    mean, std = normalised
    pixels = np.clip((image * std + mean) * 255, 0, 255).round().astype(np.uint8)
    if "pad_gt_mask" in sample:
        there = sample["pad_gt_mask"].ravel() > 0
        boxes, classes = boxes[there], classes[there]
    if "BboxXYXY2XYWH" in names:
        boxes = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2])
    if SIZE in sample:
        boxes = boxes * np.tile(sample[SIZE][::-1], 2)
    return Seen(pixels, boxes, classes)


def grid(pictures: Sequence[Seen], names: Mapping[int, str]) -> np.ndarray:
    """One picture of all, as near to a square as they go: RGB uint8 [H, W, 3].

    Args:
        names: {class number: its name}.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    cells = [_cell(one, names) for one in pictures]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[start:start + columns]) for start in range(0, len(cells), columns)])


def _cell(one, names):
    scale = CELL / max(one.image.shape[:2])
    size = [max(1, round(side * scale)) for side in one.image.shape[1::-1]]
    image = cv2.resize(one.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    rows = np.column_stack([one.classes, np.full(len(one.boxes), np.nan), one.boxes * scale])
    cell = np.full((CELL + GAP, CELL + GAP, 3), 255, np.uint8)
    cell[:size[1], :size[0]] = draw_boxes(image, rows, names)
    return cell
