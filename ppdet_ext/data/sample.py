# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The sample data set: real handwritten digits over real photographs, in COCO format, offline, in seconds."""
from __future__ import annotations

import dataclasses
import json
import logging
import os
from pathlib import Path

import cv2
import numpy as np

from ..deploy.image_files import read_image
from ..errors import UserError
from ..files import temporary_folder
from .digit_pictures import SPLITS, Spec, draw

logger = logging.getLogger("ppdet_ext.data")

VERSION = 1  # raise it whenever other pictures come out of the same parameters
ROOT = "dataset/digits"
META = "meta.json"
CLASSES = tuple("0123456789")


def _write_split(folder, split, spec):
    """Pictures and the COCO annotation file of one split under ``folder``."""
    (folder / split).mkdir(parents=True)
    images, annotations = [], []
    for number in range(getattr(spec, split)):
        picture, objects = draw(split, number, spec)
        name = f"{number:06d}.jpg"
        # OpenCV's own writer is silent about a full disk
        jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        (folder / split / name).write_bytes(jpeg.tobytes())
        images.append({"id": number + 1, "file_name": name, "height": picture.shape[0], "width": picture.shape[1]})
        for label, (x, y, w, h) in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": number + 1, "category_id": label,
                                "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0, "segmentation": []})
    content = {
        "info": {"description": "Handwritten digits over photographs (ppdet_ext sample data set)", "version": VERSION},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name, "supercategory": "digit"} for i, name in enumerate(CLASSES)],
    }
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / f"{split}.json").write_text(json.dumps(content))


def _read_meta(root):
    """The meta file's content; None where there is none or it cannot be read."""
    try:
        meta = json.loads((Path(root) / META).read_text())
        return meta if isinstance(meta, dict) and isinstance(meta.get("spec"), dict) else None
    except (OSError, ValueError):
        return None


def is_complete(root: str | Path, spec: Spec | None = None) -> bool:
    """Whether ``root`` holds a whole set of this version (and of ``spec``, where given). Counts files, reads none."""
    meta = _read_meta(root)
    if meta is None or meta.get("version") != VERSION:
        return False
    if spec is not None and meta["spec"] != json.loads(json.dumps(dataclasses.asdict(spec))):
        return False
    root = Path(root)
    return all((root / "annotations" / f"{split}.json").is_file()
               and len(list((root / split).glob("*.jpg"))) == meta["spec"].get(split) for split in SPLITS)


def make(root: str | Path = ROOT, spec: Spec | None = None, force: bool = False) -> bool:
    """Write the sample set to ``root`` in one stroke (built in a temporary folder beside it, then renamed).

    Args:
        root: the folder to write.
        spec: a ``Spec``; default ``Spec()``.
        force: make it again also where it is complete.

    Returns:
        True where it was made, False where the same set was already there.

    Raises:
        UserError: the folder holds something else, cannot be written, or ``spec`` cannot be made.
    """
    root, spec = Path(root), spec or Spec()
    spec.settings()
    if not force and is_complete(root, spec):
        return False
    if root.exists() and _read_meta(root) is None and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"'{root}' exists and is not a sample data set; name another folder (--root) or move it away")
    with temporary_folder(root) as work:
        new = work / "new"
        new.mkdir()
        for split in SPLITS:
            _write_split(new, split, spec)
        (new / META).write_text(json.dumps({"version": VERSION, "spec": dataclasses.asdict(spec)}, indent=1) + "\n")
        if force or not is_complete(root, spec):  # another process may have been quicker
            _swap(new, root, work / "old")
    return True


def _swap(new, root, old):
    """Put ``new`` in the place of ``root``. Of two processes that make the same set, the first one's stays."""
    if root.exists():
        os.replace(root, old)
    try:
        os.replace(new, root)
    except OSError:
        if not is_complete(root):
            raise


def _digits_root(cfg):
    """The data set folder where one of the config's data sets is the digits set, else None."""
    for key in ("TrainDataset", "EvalDataset", "TestDataset"):
        section = cfg.get(key)
        folder = section.get("dataset_dir") if isinstance(section, dict) else getattr(section, "dataset_dir", None)
        if folder and Path(folder).parts[-2:] == Path(ROOT).parts:
            return Path(folder)
    return None


def ensure(cfg: dict) -> bool:
    """Make the digits set where ``cfg`` uses it (a ``dataset_dir`` that ends in dataset/digits) and it is missing,
    incomplete or of another version; a set made with other parameters is kept. Returns whether it was made."""
    root = _digits_root(cfg)
    if root is None or is_complete(root):
        return False
    meta = _read_meta(root)
    try:
        spec = Spec(**meta["spec"]) if meta else Spec()
        spec.settings()
    except (TypeError, UserError):
        spec = Spec()
    logger.info("Making the sample data set in '%s': %d training and %d validation images of handwritten digits",
                root, spec.train, spec.val)
    return make(root, spec)


def preview(root: str | Path, split: str = "train", rows: int = 3, columns: int = 6, cell: int = 160,
            start: int = 0) -> np.ndarray:
    """A grid of a split's pictures with boxes and labels: RGB uint8 [rows * cell, columns * cell, 3]."""
    root = Path(root)
    content = json.loads((root / "annotations" / f"{split}.json").read_text())
    objects: dict[int, list[dict]] = {}
    for annotation in content["annotations"]:
        objects.setdefault(annotation["image_id"], []).append(annotation)
    grid = np.full((rows * cell, columns * cell, 3), 255, "uint8")
    for place, entry in enumerate(content["images"][start:start + rows * columns]):
        picture = read_image(root / split / entry["file_name"])
        scale = (cell - 4) / max(picture.shape[:2])
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for annotation in objects.get(entry["id"], ()):
            x, y, w, h = (round(value * scale) for value in annotation["bbox"])
            cv2.rectangle(picture, (x, y), (x + w, y + h), (0, 255, 0), 1)
            cv2.putText(picture, str(annotation["category_id"]), (x + 2, max(y + 11, 11)), cv2.FONT_HERSHEY_SIMPLEX,
                        0.4, (255, 255, 0), 1, cv2.LINE_AA)
        top, left = place // columns * cell + 2, place % columns * cell + 2
        grid[top:top + picture.shape[0], left:left + picture.shape[1]] = picture
    return grid
