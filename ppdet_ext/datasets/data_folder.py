# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""--data DIR_OR_FILE as sections of a config: what ppdet cannot read by itself is written as COCO's JSON."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data import coco, dataset_config, sample, voc
from ..errors import UserError, printable
from . import coco_file, layouts, splits
from .picture_set import Box, Picture, PictureSet, ReadAsIs
from .tree import shown

VOC_FIELDS = ["image", "gt_bbox", "gt_class", "difficult"]
COCO_FIELDS = ["image", "gt_bbox", "gt_class", "is_crowd"]
SECTIONS = {"train": "TrainDataset", "val": "EvalDataset"}  # split -> the section that it is for
#: what --data decides in a config
DECIDES = (*SECTIONS.values(), "TestDataset", "metric", "num_classes")
MOST_NAMES = 12


@dataclass(frozen=True)
class Data:
    """What --data means.

    Args:
        sections: metric, num_classes, TrainDataset, EvalDataset and TestDataset of a config; without TrainDataset where
            nothing is there to learn from.
        lines: five lines that say what was understood.
        evaluated: the pictures of the val split.
    """

    sections: dict[str, Any]
    lines: list[str]
    evaluated: list[Path] = field(default_factory=list)


def read(path: str | Path, folder: str | Path, trains: bool = True) -> Data:
    """Read a data set, find or make its splits, and write what ppdet cannot read into ``folder``.

    Args:
        path: the data set's folder, or the file that describes it.
        folder: gets train.json and val.json, where they are needed.
        trains: whether a training set is needed; else a val or test set is enough.

    Raises:
        UserError: see ``layouts.read``, ``splits.completed``, ``coco_file.content``; the folder cannot be written.
    """
    folder = Path(folder).absolute()
    found = layouts.read(path)
    if trains or not {"val", "test"} & set(found.splits):
        found = splits.completed(found)
    elif "val" not in found.splits:
        found = splits.renamed(found, {"test": "val"})
    metric = _metric(found)
    wanted = {split: pictures for split, pictures in found.splits.items()
              if split in SECTIONS and (trains or split == "val")}
    made: dict[str, Any] = {"metric": metric, "num_classes": len(found.names)}
    if metric == "VOC":
        made["map_type"] = "11point"
    written = []
    for split, pictures in wanted.items():
        as_is = found.as_is.get(split) if metric == getattr(found.as_is.get(split), "metric", None) else None
        if as_is is None:
            written.append(folder / f"{split}.json")
            coco_file.write(written[-1], coco_file.content(found.names, pictures, found.root, evaluates=split == "val"))
            as_is = ReadAsIs("COCO", str(written[-1]), "")
        made[SECTIONS[split]] = _section(found.root, as_is, learns=split == "train")
    made["TestDataset"] = {"name": "ImageFolder", "dataset_dir": str(found.root), "anno_path": made["EvalDataset"].get(
        "label_list", made["EvalDataset"]["anno_path"])}
    return Data(made, _lines(found, wanted, written), [picture.path for picture in wanted["val"]])


def _metric(found: PictureSet) -> str:
    """VOC's where ppdet reads VOC's lists itself, as it always did; else COCO's."""
    kinds = {found.as_is[split].metric if split in found.as_is else "COCO" for split in SECTIONS
             if split in found.splits}
    return "VOC" if kinds == {"VOC"} else "COCO"


def _section(root: Path, file: ReadAsIs, learns: bool) -> dict[str, Any]:
    given = {"dataset_dir": str(root), "anno_path": file.anno_path, "image_dir": file.image_dir}
    if file.metric == "VOC":
        return {"name": "VOCDataSet", **given, "label_list": "label_list.txt", "data_fields": VOC_FIELDS}
    # an evaluation reads boxes from the file itself; in its batches lists of different lengths make no array
    fields = {"data_fields": COCO_FIELDS} if learns else {}
    return {"name": "COCODataSet", **given, **fields, "allow_empty": True}


def _lines(found: PictureSet, used: dict[str, list[Picture]], written: Sequence[Path]) -> list[str]:
    """What was understood, in five lines."""
    counts = ", ".join(f"{split} {len(pictures)}" for split, pictures in found.splits.items())
    unused = [split for split in found.splits if split not in used]
    return [f"data: {found.layout}, in {found.root}",
            f"splits: {counts} pictures ({found.splits_from or 'one set'})"
            f"{'; not used: ' + ', '.join(unused) if unused else ''}",
            f"classes: {len(found.names)} ({shown(map(printable, found.names), MOST_NAMES)})",
            f"boxes: {_counts(used)}{''.join(f'; {note}' for note in found.notes)}",
            f"files: {shown(written)} written, the pictures stay where they are" if written else
            "files: the annotations are read where they are, nothing is written"]


def _counts(used):
    boxes: list[Box] = [box for pictures in used.values() for picture in pictures for box in picture.boxes]
    per_split = ", ".join(f"{split} {sum(len(picture.boxes) for picture in pictures)}" for split, pictures in
                          used.items())
    facts = Counter({"backgrounds": sum(not picture.boxes for pictures in used.values() for picture in pictures),
                     "crowds": sum(box.crowd for box in boxes), "difficult": sum(box.difficult for box in boxes)})
    return per_split + "".join(f", {number} {name}" for name, number in facts.items() if number)


def count_pictures(cfg: dict[str, Any]) -> int:
    """Pictures that a config's training set lists; the sample set is made where it is missing.

    Raises:
        UserError: there is no such file.
    """
    sample.ensure(cfg)
    data = dataset_config.read(cfg, "TrainDataset")
    if data is None or not data.anno_file.is_file():
        raise UserError(f"TrainDataset: there is no '{data.anno_file if data else ''}'; name a set with --data DIR")
    if data.anno_file.suffix != ".json":
        return len([line for line in voc.read_lines(data.anno_file, "TrainDataset.anno_path") if line.strip()])
    return len(coco.load(data.anno_file, "TrainDataset").get("images") or ())


