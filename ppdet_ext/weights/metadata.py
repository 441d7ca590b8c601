# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What is known about a weight file beside its numbers: a small YAML file next to each converted one."""
from __future__ import annotations

import importlib.metadata
import logging
from pathlib import Path
from typing import Any

import yaml

from .. import plain_yaml
from ..errors import UserError, printable

logger = logging.getLogger(__name__)

# what a PretrainedCfg tells about any weights of its name; a source that knows better overrides it
FROM_CFG = ("arch", "tag", "license", "input_size", "mean", "std", "interpolation", "crop_pct", "num_classes")


def version() -> str:
    """The installed version of this package; it goes into every file we write."""
    try:
        return importlib.metadata.version("ppdet-ext")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def from_cfg(cfg: Any) -> dict[str, Any]:
    """The plain-value dict of what ``cfg`` (a PretrainedCfg) says; tuples become lists, empty values are left out."""
    values = {key: getattr(cfg, key, None) for key in FROM_CFG}
    return {key: plain(value) for key, value in values.items() if value not in (None, "")}


def plain(value: Any) -> Any:
    """Tuples as lists and numbers as Python's own, so that YAML and JSON write them without tags."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def sidecar(path: str | Path) -> Path:
    """Where a weight file's metadata lies: the same name, ending in .yml."""
    return Path(path).with_suffix(".yml")


def read(path: str | Path) -> dict[str, Any]:
    """Metadata beside the weight file ``path``; {} where there is none, or a file of another kind (a warning)."""
    path = sidecar(path)
    found = _load(path) if path.exists() else {}
    if found is None:
        logger.warning("'%s' is not used: it is not weights' metadata, which holds lists mean and std", path)
    return found or {}


def require_free(path: str | Path) -> None:
    """Raise UserError where metadata beside the weight file ``path`` would overwrite a file of another kind."""
    path = sidecar(path)
    if path.exists() and _load(path) is None:
        raise UserError(f"'{path}', where the metadata would go, is another kind of file; name another output")


def _load(path):
    """The mapping in ``path``, or None where it is not metadata: any YAML file may lie beside weights.

    Its texts are made such that they can be printed.
    """
    try:
        found = plain_yaml.load(plain_yaml.read_text(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):  # a date or a number that is none is a ValueError
        return None
    known = {key: _shown(value) for key, value in found.items()} if isinstance(found, dict) else {}
    good = all(isinstance(known.get(key), list) and all(isinstance(one, (int, float)) for one in known[key])
               for key in ("mean", "std"))
    return known if good else None


def _shown(value):
    """A plain value or a list of such; texts without what moves a cursor, and in place of all else its text."""
    if isinstance(value, list):
        return [_shown(item) if not isinstance(item, list) else "..." for item in value]
    return value if isinstance(value, (int, float, type(None))) else printable(value, plain_yaml.LIMITS.size)


def dump(values: dict[str, Any]) -> str:
    """``values`` as the text of a metadata file."""
    return yaml.safe_dump({key: plain(value) for key, value in values.items()}, sort_keys=False,
                          default_flow_style=None, allow_unicode=True)
