# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An exported model's folder: which files it must hold, and what its infer_cfg.yml says."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from . import preprocess
from .errors import DeployError

CONFIG = "infer_cfg.yml"
# Paddle 3 writes .json, Paddle 2 .pdmodel; PaddleX names them inference.*
PROGRAMS = ("model.json", "model.pdmodel", "inference.json", "inference.pdmodel")


@dataclass(frozen=True)
class ExportedModel:
    """Paths and settings of an exported model. ``steps`` are the callables of its Preprocess list."""

    program: Path
    weights: Path
    arch: str
    labels: list
    steps: list
    min_subgraph_size: int
    use_dynamic_shape: bool

    @classmethod
    def open(cls, folder):
        """Read the folder that tools/export_model.py has written.

        Raises:
            DeployError: a file or a key is missing or cannot be used; names it.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise DeployError(f"--model_dir: '{folder}' is not a folder; export a model with tools/export_model.py")
        program = next((folder / name for name in PROGRAMS if (folder / name).is_file()), None)
        weights = (program or folder / "model").with_suffix(".pdiparams")
        missing = [] if program else ["model.json (or model.pdmodel)"]
        missing += [path.name for path in (weights, folder / CONFIG) if not path.is_file()]
        if missing:
            raise DeployError(f"--model_dir: '{folder}' is no exported model: {', '.join(missing)} missing; "
                              "export one with tools/export_model.py")
        settings = _read_config(folder / CONFIG)
        return cls(program=program, weights=weights, arch=settings["arch"],
                   labels=[str(label) for label in settings["label_list"]],
                   steps=preprocess.build(settings["Preprocess"]),
                   min_subgraph_size=int(settings.get("min_subgraph_size", 3)),
                   use_dynamic_shape=bool(settings.get("use_dynamic_shape", False)))


def _read_config(path):
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeployError(f"'{path}' is not YAML: {' '.join(str(error).split())}") from None
    missing = [key for key in ("arch", "Preprocess", "label_list") if key not in (settings or {})]
    if missing:
        raise DeployError(f"'{path}' lacks {', '.join(missing)}; export the model again with tools/export_model.py")
    return settings
