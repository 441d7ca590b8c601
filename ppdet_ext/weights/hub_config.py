# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Mean, std and tag of weights as the hub's own files beside them say: config.json, preprocessor_config.json."""
from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any

from ..errors import UserError, printable
from .json_file import read_json
from .readers import READERS
from .shards import SUFFIX

logger = logging.getLogger("ppdet.engine")

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # what a hub's folder calls the weights that its files are about
TOLD_BY = "normalization_from"  # key of the file that says it
# timm's names of what weights know, beside mean and std
FACTS = ("tag", "license", "input_size", "interpolation", "crop_pct", "num_classes")
# PIL's numbers of ways to resize -> timm's names
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}


def read(path: str | Path) -> dict[str, Any]:
    """What the files beside a weight file say, under the keys of ``weights.metadata``; {} where they say no mean.

    timm's config.json is asked first, then transformers' preprocessor_config.json. They speak of the weights where the
    file has a hub's name, or is the only weight file there. ``normalization_from`` is the file that says it.
    """
    path = Path(path)
    for name, understand in ((CONFIG, _of_timm), (PROCESSOR, _of_processor)):
        file = path.parent / name
        if not file.is_file():
            continue
        try:
            found = understand(read_json(file))
        except UserError as error:
            logger.warning("%s; its mean and std are not used", error)
            continue
        if not found:
            continue
        if path.name.replace(SUFFIX, "") not in HUB_FILES and _weight_files(path.parent) > 1:
            logger.warning("'%s' is not used: its folder holds several weight files, and which one it is about is not "
                           "said; name the file %s, or give it a folder of its own", file, HUB_FILES[0])
            continue
        return {**found, TOLD_BY: str(file)}
    return {}


def of_config(file: str | Path) -> dict[str, Any]:
    """The same of timm's config.json alone, wherever it lies and whatever it is called.

    Raises:
        UserError: it is no JSON object, or its numbers are none.
    """
    found = _of_timm(read_json(file))
    return {**found, TOLD_BY: str(file)} if found else {}


def _weight_files(folder):
    with os.scandir(folder) as entries:
        return sum(entry.name.endswith(tuple(READERS)) for entry in entries)


def _of_timm(content):
    """timm's ``pretrained_cfg``, which older files hold at their top."""
    inner = content.get("pretrained_cfg")
    cfg = inner if isinstance(inner, dict) else content
    if "mean" not in cfg and "std" not in cfg:
        return {}
    found = {key: _shown(cfg[key]) for key in FACTS if cfg.get(key) is not None}
    arch = content.get("architecture")
    if isinstance(arch, str):
        bare, _, tag = printable(arch).partition(".")
        found = {"arch": bare, **({"tag": tag} if tag else {}), **found}
    return {**found, "mean": _numbers("mean", cfg.get("mean")), "std": _numbers("std", cfg.get("std"), above=0)}


def _of_processor(content):
    """transformers' image processor: rescaling (or none), then normalising (or not), as mean and std of 0..1."""
    if "do_normalize" not in content and "image_mean" not in content:
        return {}
    scale = _number("rescale_factor", content.get("rescale_factor", 1 / 255)) * 255
    scale = 255.0 if content.get("do_rescale") is False else 1.0 if math.isclose(scale, 1) else scale
    mean, std = [0.0] * 3, [1.0] * 3
    if content.get("do_normalize", True):
        mean = _numbers("image_mean", content.get("image_mean"))
        std = _numbers("image_std", content.get("image_std"), above=0)
    if content.get("rescale_offset"):  # EfficientNet's in transformers: 1 is taken off before
        mean = [value + 1 for value in mean]
    found = {"mean": [value / scale for value in mean], "std": [value / scale for value in std]}
    way = content.get("resample")
    return {**found, "interpolation": RESAMPLE[way]} if isinstance(way, int) and way in RESAMPLE else found


def _number(key, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value == 0:
        raise UserError(f"{key} is {printable(value, 60)}, not a number other than 0")
    return value


def _numbers(key, value, above=-math.inf):
    """A list of numbers; a single one stands for three."""
    values = value if isinstance(value, list) else [value] * 3
    if not values or not all(isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one)
                             and one > above for one in values):
        raise UserError(f"{key} is {printable(value, 60)}, not a list of numbers" + (" above 0" if above == 0 else ""))
    return [float(one) for one in values]


def _shown(value):
    """A number or text, or a list of such, as it may be printed."""
    if isinstance(value, list):
        return [_shown(item) if not isinstance(item, list) else "..." for item in value]
    return value if isinstance(value, (int, float)) else printable(value)
