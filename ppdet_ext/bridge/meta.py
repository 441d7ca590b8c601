# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What is known about a weight file beside its numbers: a small YAML file next to each converted one."""
import importlib.metadata
from pathlib import Path

import yaml

from ..errors import UserError
from ..files import atomic_path

# what a PretrainedCfg tells about any weights of its name; a source that knows better overrides it
FROM_CFG = ("arch", "tag", "license", "input_size", "mean", "std", "interpolation", "crop_pct", "num_classes")


def version():
    """The installed version of this package; it goes into every file we write."""
    try:
        return importlib.metadata.version("ppdet-ext")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def from_cfg(cfg):
    """The plain-value dict of what ``cfg`` (a PretrainedCfg) says; tuples become lists, empty values are left out."""
    values = {key: getattr(cfg, key, None) for key in FROM_CFG}
    return {key: plain(value) for key, value in values.items() if value not in (None, "")}


def plain(value):
    """Tuples as lists and numbers as Python's own, so that YAML and JSON write them without tags."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def sidecar(path):
    """Where a weight file's metadata lies: the same name, ending in .yml."""
    return Path(path).with_suffix(".yml")


def read(path):
    """Metadata beside the weight file ``path``; {} where there is none.

    Raises:
        UserError: the file is not a YAML mapping.
    """
    path = sidecar(path)
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"'{path}' is not YAML ({str(error).splitlines()[0]}); mend or remove it") from None
    if not isinstance(found, dict):
        raise UserError(f"'{path}' should hold keys and values (arch, mean, std, ...); mend or remove it")
    return found


def write(path, values):
    """Write ``values`` beside the weight file ``path``; returns the metadata file's path."""
    with atomic_path(sidecar(path)) as temporary:
        text = yaml.safe_dump({key: plain(value) for key, value in values.items()}, sort_keys=False,
                              default_flow_style=None, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")
    return sidecar(path)
