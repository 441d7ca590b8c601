# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Names of classes, in the order in which ppdet numbers them."""
from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from . import coco, dataset_config, voc

# data set class -> [(id, name)] of one
LISTS = {"COCODataSet": lambda data: coco.categories(coco.load(data.anno_file, data.section), data.anno_file),
         "VOCDataSet": voc.labels}


def of_coco() -> list[str]:
    """The 80 classes of COCO 2017."""
    from ppdet.data.source.category import _coco17_category

    numbers, names = _coco17_category()
    return [names[number] for _, number in sorted(numbers.items())]


def of_file(path: str | Path) -> list[str]:
    """The classes that a COCO .json, or a text file with one name a line, lists.

    Raises:
        UserError: it is missing or neither.
    """
    path = Path(path)
    pairs = coco.categories(coco.load(path, "--classes"), path) if path.suffix == ".json" else \
        voc.read_label_file(path, "--classes")
    return [name for _, name in pairs]


def of_data_set(cfg: dict, section: str = "TrainDataset") -> list[str]:
    """The classes of one of a config's data sets.

    Raises:
        UserError: the config has no such section, or one whose class names are not known here.
    """
    data = dataset_config.read(cfg, section)
    if data is None or data.kind not in LISTS:
        raise UserError(f"the class names of {section} are not known ({data.kind if data else 'there is none'}); "
                        f"those of {', '.join(LISTS)} are")
    return [name for _, name in LISTS[data.kind](data)]
