# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""--data, or ``data:`` in a config, put in the place of the config's data sets, classes and metric."""
from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import config_file
from ..datasets import data_folder
from ..distributed import processes
from ..errors import UserError

PLACES = ("name", "dataset_dir", "anno_path", "image_dir", "label_list")  # what --data decides of a data set
# mode -> where a run's folder gets the written annotations; those of a training stay as they are
FOLDERS = {"train": "data", "quick": "quick/data", "eval": "data/eval", "test": "data/infer"}
KEY = "data_pictures"  # of cfg["command"]


def apply(cfg: dict[str, Any], args: argparse.Namespace, options: Mapping[str, Any], mode: str) -> dict[str, Any]:
    """Read the data set that the command line, or else the config, names; print what was understood.

    Args:
        cfg: ppdet's global config; afterwards it repeats the run without ``data``.
        options: what ``-o`` says.
        mode: 'train', 'eval' or 'test'.

    Returns:
        What the rest of the run may want to know, for cfg["command"]; {} without a data set.

    Raises:
        UserError: see ``data_folder.read``; ``-o`` says otherwise than the data set.
    """
    path = getattr(args, "data", None) or cfg.get("data")
    cfg.pop("data", None)
    if not path:
        return {}
    _refuse_places(options)
    quick = getattr(args, "quick", None) is not None
    folder = Path(cfg.get("save_dir", "output")) / cfg["filename"] / FOLDERS["quick" if quick else mode]
    data = data_folder.read(path, folder, trains=mode == "train")
    replaced = _replaced(cfg, options, data.sections)
    for name, value in data.sections.items():
        if isinstance(value, dict):
            config_file.replace_section(cfg, name, value)
            config_file.merge(cfg, {name: options.get(name, {})}, "-o")
        else:
            cfg[name] = value
    if processes.is_main():
        print("\n".join(data.lines + replaced), flush=True)
    return {"data": str(path), KEY: [str(picture) for picture in data.evaluated]}


def _refuse_places(options):
    for section in (*data_folder.SECTIONS.values(), "TestDataset"):
        given = options.get(section)
        wrong = [key for key in given if key in PLACES] if isinstance(given, Mapping) else [""] * (given is not None)
        if wrong:
            raise UserError(f"-o {section}{'.' if wrong[0] else ''}{wrong[0]} and --data both say where the data are; "
                            "leave one out")


def _replaced(cfg: Mapping[str, Any], options: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """A line on what the config says otherwise; raises UserError where ``-o`` does."""
    changed = {key: (cfg.get(key), made[key]) for key in ("num_classes", "metric") if key in made
               and cfg.get(key) not in (None, made[key])}
    for key, (old, new) in changed.items():
        if key in options:
            raise UserError(f"-o {key}={old}, but --data has {key} {new}; leave -o {key} out")
    words = [f"{key} {new} (not {old})" for key, (old, new) in changed.items()]
    sets = [section for section in data_folder.SECTIONS.values() if section in made and cfg.get(section) not in (
        None, {})]
    return [f"in the config's place: {', '.join([*words, *sets])}"] if words or sets else []


def evaluated_pictures(cfg: Mapping[str, Any]) -> list[str]:
    """The pictures of the val split of --data.

    Raises:
        UserError: the data set has none.
    """
    found: list[str] = cfg["command"].get(KEY, [])
    if not found:
        raise UserError("--data has no val split to look at: --infer_img=FILE or --infer_dir=FOLDER")
    return found
