# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a config says about one data set, in one shape, whichever of ppdet's two YAML styles says it."""
from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import UserError

_FIELDS = ("dataset_dir", "image_dir", "anno_path", "label_list", "allow_empty", "load_crowd")


@dataclasses.dataclass(frozen=True)
class Source:
    """One of TrainDataset, EvalDataset, TestDataset: its ``section`` name, ppdet's class name, paths, what it keeps."""
    section: str
    kind: str
    dataset_dir: Path
    image_dir: str = ""
    anno_path: str = ""
    label_list: str = ""
    allow_empty: bool = False
    load_crowd: bool = False

    @property
    def trains(self) -> bool:
        """Whether it is learnt from; else it is evaluated."""
        return self.section == "TrainDataset"

    @property
    def anno_file(self) -> Path:
        """Path of the annotations."""
        return self.dataset_dir / self.anno_path

    @property
    def label_file(self) -> Path | None:
        """Path of the list of labels; None where the config names none."""
        return self.dataset_dir / self.label_list if self.label_list else None

    def image(self, name: str) -> Path:
        """Path of an image that the annotations call ``name``."""
        return self.dataset_dir / self.image_dir / name

    def stray(self, paths: Iterable[str | Path]) -> str | Path | None:
        """The first path that lies neither in the data set's folder nor in its folder of images; None without one."""
        folders = tuple(os.path.join(os.path.abspath(folder), "") for folder in (self.dataset_dir, self.image("")))
        return next((path for path in paths if not os.path.abspath(path).startswith(folders)), None)


def read(cfg: dict, section: str) -> Source | None:
    """The Source of a section (``name: COCODataSet`` or ``!COCODataSet``); None where the config has none."""
    value = cfg.get(section)
    values: dict[str, Any]
    if value is None or value == {}:
        return None
    if isinstance(value, dict):
        from ..config.reader_keys import name_of_dataset  # loads Paddle, which this file's other users do without

        kind = name_of_dataset(section, value)
        values = {field: value.get(field) for field in _FIELDS}
    else:
        kind, values = type(value).__name__, {field: getattr(value, field, None) for field in _FIELDS}
    if kind == "ImageFolder" and isinstance(values["image_dir"], (list, tuple)):  # it takes several
        values["image_dir"] = ""
    elif isinstance(values["image_dir"], (list, tuple)):
        raise UserError(f"{section}.image_dir is a list; it takes one folder: name the one above them all, and the "
                        "rest of each path in file_name")
    values = {field: content for field, content in values.items() if content is not None}
    folder = Path(values.pop("dataset_dir", "") or "").expanduser()
    return Source(section=section, kind=kind, dataset_dir=_cached(folder, values.get("anno_path")), **values)


def _cached(folder, anno_path):
    """``folder``, or where ppdet keeps the downloaded set of that name, if only that one holds the annotations."""
    stored = Path("~/.cache/paddle/dataset").expanduser() / folder.name.lower()
    if anno_path and folder.name and not os.path.isfile(folder / anno_path) and os.path.isfile(stored / anno_path):
        return stored
    return folder
