# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A data set's folder as sections of a config: which of its files are which, for --data DIR."""
from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError, printable
from . import coco, dataset_config, sample, voc

# words in the name of a file to learn from -> those in that of the file to evaluate on, the likeliest first
SPLITS = {"trainval": ("test", "val"), "train": ("val", "test")}
LAYOUTS = ("annotations/train*.json and annotations/val*.json (COCO), or train.txt, val.txt and label_list.txt (VOC); "
           "docs/custom_dataset.md shows both")
VOC_FIELDS = ["image", "gt_bbox", "gt_class", "difficult"]
COCO_FIELDS = ["image", "gt_bbox", "gt_class", "is_crowd"]


def sections(folder: str | Path) -> dict[str, Any]:
    """metric, num_classes, TrainDataset, EvalDataset and TestDataset of a folder in COCO's or VOC's layout.

    Raises:
        UserError: the folder is missing, or has no files, or several, that could be the training or the evaluation set.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"--data '{folder}' is no folder")
    root = root.resolve()
    return _voc(root) if (root / "label_list.txt").is_file() else _coco(root)


def _coco(root):
    found = [path for place in (root / "annotations", root) for path in sorted(place.glob("*.json"))]
    files = _splits(found, root)
    made: dict[str, Any] = {"metric": "COCO"}
    for section, path in files.items():
        content = coco.load(path, section)
        made[section] = {"name": "COCODataSet", "dataset_dir": str(root), "anno_path": str(path.relative_to(root)),
                         "image_dir": _image_folder(root, content, path), "data_fields": COCO_FIELDS,
                         "allow_empty": True}
        made["num_classes"] = len(content.get("categories") or ())
    made["TestDataset"] = {"name": "ImageFolder", "dataset_dir": str(root),
                           "anno_path": made["EvalDataset"]["anno_path"]}
    return made


def _voc(root):
    found = [path for path in sorted(root.glob("*.txt")) if path.name != "label_list.txt"]
    files = _splits(found, root)
    labels = voc.read_label_file(root / "label_list.txt", "--data")
    made: dict[str, Any] = {"metric": "VOC", "map_type": "11point", "num_classes": len(labels)}
    for section, path in files.items():
        made[section] = {"name": "VOCDataSet", "dataset_dir": str(root), "anno_path": path.name, "image_dir": "",
                         "label_list": "label_list.txt", "data_fields": VOC_FIELDS}
    made["TestDataset"] = {"name": "ImageFolder", "dataset_dir": str(root), "anno_path": "label_list.txt"}
    return made


def _splits(found, root):
    """{section: its file}; COCO's captions and keypoints are left out."""
    boxes = [path for path in found if not path.name.startswith(("captions", "person_keypoints", "image_info"))]
    train = _of_split(boxes, SPLITS, root)
    words = next(words for word, words in SPLITS.items() if word in train.stem.lower())
    return {"TrainDataset": train, "EvalDataset": _of_split([path for path in boxes if path != train], words, root)}


def _of_split(found: Sequence[Path], words: Iterable[str], root: Path) -> Path:
    """The one file with the first of the words that any has in its name; one of no other name comes first."""
    for word in words:
        fits = [path for path in found if word in path.stem.lower()]
        fits = [path for path in fits if path.stem.lower() == word] or fits
        if len(fits) > 1:
            raise UserError(f"--data '{root}': {', '.join(printable(path.name) for path in fits)} could each be the "
                            f"{word} set; leave one, or write a config and name it with -c")
        if fits:
            return fits[0]
    raise UserError(f"--data '{root}': no file for '{list(words)[-1]}'; a data set has {LAYOUTS}")


def _image_folder(root: Path, content: dict[str, Any], path: Path) -> str:
    """Where the pictures of an annotation file lie below the root; ppdet wants it said."""
    names = [image.get("file_name") for image in (content.get("images") or ())[:1] if isinstance(image, dict)]
    if not names or not isinstance(names[0], str):
        return ""  # the checks of the data set say what is wrong
    folders = ["", *sorted(entry.name for entry in os.scandir(root) if entry.is_dir())]
    fits = [folder for folder in folders if (root / folder / names[0]).is_file()]
    if not fits:
        raise UserError(f"--data '{root}': the first picture of {path.name}, '{printable(names[0])}', lies neither in "
                        "this folder nor in one of its folders")
    # train and val may both have a picture of that name
    return next((folder for folder in fits if folder and folder in path.stem), fits[0])


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
