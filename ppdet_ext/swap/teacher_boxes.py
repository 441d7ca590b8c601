# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pictures without annotations join the training set with the boxes that the teacher finds in them."""
from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from ppdet.core.workspace import create

from ..checkpoints import finetune
from ..data import normalization
from ..data.reading import read_batch
from ..deploy.image_files import upright_size
from ..deploy.image_formats import UnreadableImage
from ..engine import run_facts
from ..errors import UserError
from ..files import atomic_path
from .pictures import Pictures, in_folder
from .teacher import Normalization, Teacher

log = logging.getLogger("ppdet.engine")
FILE = "teacher_boxes.json"  # beside the checkpoints: a run that goes on trains on the same boxes
#: class, score, x1, y1, x2, y2 in pixels
Box = list[float]


@paddle.no_grad()
def find(teacher: Teacher, paths: Sequence[str], own: Normalization, least: float) -> dict[str, list[Box]]:
    """What the teacher finds in pictures, as TestReader reads them: {path: boxes with at least this score}."""
    reader, found = create("TestReader"), {}
    for number, path in enumerate(paths):
        batch = read_batch(reader, [{"im_id": np.array([number]), "im_file": path}])
        tensors = {key: paddle.to_tensor(value) for key, value in batch.items()
                   if isinstance(value, np.ndarray) and value.dtype.kind in "fiub"}
        tensors["image"] = teacher.seen(tensors["image"], own)
        boxes = teacher.net(tensors)["bbox"].numpy()
        found[path] = boxes[boxes[:, 1] >= least].tolist()
    return found


def pair(dataset: Any, teacher: Teacher, class_map: Mapping[Any, Any] | None) -> dict[int, int]:
    """{class of the teacher: class here}: by class_map, else by name, else by number where there are as many.

    Raises:
        UserError: no class of the teacher is one here.
    """
    ours, theirs = run_facts.names_of(dataset), list(teacher.classes)
    count = int(teacher.net.transformer.num_classes)
    if class_map is not None:
        pairs = finetune.pair_classes(dict(class_map), (len(ours), ours), (count, theirs or None))
    elif theirs:
        pairs = [(number, theirs.index(name)) for number, name in enumerate(ours) if name in theirs]
    else:
        pairs = [(number, number) for number in range(count)] if count == len(ours) else []
    if not pairs:
        raise UserError(f"swap_backbone.unlabelled: no class of the teacher ({', '.join(theirs[:5]) or count}) is one "
                        f"here ({', '.join(map(str, ours[:5]))}); pair them: class_map: {{HERE: THERE}}")
    return {other: own for own, other in pairs}


def add(dataset: Any, found: Mapping[str, Sequence[Box]], classes: Mapping[int, int]) -> tuple[int, int]:
    """Add pictures to a parsed data set; those without a box stay away, for nobody is sure of them.

    Args:
        dataset: one of ppdet's.
        found: what ``find`` gave.
        classes: what ``pair`` gave.
    Returns:
        (how many pictures, how many boxes)
    Raises:
        UserError: a picture cannot be read, or the set's records hold what no teacher tells (outlines, ...).
    """
    first = int(max((int(np.ravel(record["im_id"])[0]) for record in dataset.roidbs), default=-1)) + 1
    keys = next((set(record) for record in dataset.roidbs if "gt_bbox" in record), set())
    records: list[dict[str, Any]] = []
    for path, boxes in found.items():
        known = [box for box in boxes if int(box[0]) in classes]
        if known:
            record = Pictures.record(first + len(records), path, [classes[int(box[0])] for box in known],
                                     [box[2:] for box in known])
            records.append(_like(record, keys, path))
    dataset.roidbs = [*dataset.roidbs, *records]
    return len(records), sum(len(record["gt_bbox"]) for record in records)


def _like(record, keys, path):
    try:
        record["w"], record["h"], _ = upright_size(path)
    except UnreadableImage as error:
        raise UserError(f"image {path!r} is unreadable: {error.reason}") from None
    lacking = keys - set(record)
    if lacking:
        raise UserError(f"swap_backbone.unlabelled: the training set has {', '.join(sorted(lacking))}, which the "
                        "teacher does not tell; take it out of TrainDataset.data_fields")
    return {key: value for key, value in record.items() if key in keys} if keys else record


def _kept(path):
    """What an earlier start has written; {} without, and where it is damaged, for it can be found anew."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def join(dataset: Any, cfg: Mapping[str, Any], settings: Mapping[str, Any], teacher: Teacher,
         folder: str | Path) -> None:
    """Find boxes, or take those that an earlier start of the run has found, and add the pictures.

    Args:
        dataset: TrainDataset, parsed.
        settings: of ``swap_backbone``.
        folder: the run's.
    """
    path, least = Path(folder) / FILE, settings["min_score"]
    given = {"folder": str(settings["unlabelled"]), "min_score": least, "teacher": teacher.source}
    kept = _kept(path)
    if {key: kept.get(key) for key in given} != given:
        own = normalization.used(dict(cfg), "TestReader") or teacher.normalization
        kept = {**given, "boxes": find(teacher, in_folder(settings["unlabelled"], "unlabelled"), own, least)}
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(kept), encoding="utf-8")
    pictures, boxes = add(dataset, kept["boxes"], pair(dataset, teacher, cfg.get("class_map")))
    log.info(f"unlabelled: {pictures} of {len(kept['boxes'])} pictures join the training set with {boxes} boxes of the "
             f"teacher's (score {least:g} or more); pictures without one stay away")
