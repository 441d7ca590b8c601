# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An exported model's folder: which files it must hold, and what its infer_cfg.yml says."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from . import preprocess
from .deploy_error import DeployError

CONFIG = "infer_cfg.yml"
# the files that come in two: the program and, beside it, its weights
WEIGHTS = {".json": ".pdiparams", ".pdmodel": ".pdiparams", ".xml": ".bin"}


@dataclass(frozen=True)
class ExportedModel:
    """Paths and settings of an exported model. ``steps`` are the callables of its Preprocess list.

    ``weights`` None: they are in ``program``.
    """

    program: Path
    weights: Path | None
    arch: str
    labels: list[str]
    steps: list[preprocess.Step]
    min_subgraph_size: int
    use_dynamic_shape: bool

    @classmethod
    def open(cls, path: Path, program: Path | None, names: Sequence[str]) -> ExportedModel:
        """Read the folder that tools/export_model.py has written.

        Args:
            path: the folder, or a file in it.
            program: the file to run; None where there is none, and the message then says which of ``names`` could be.

        Raises:
            DeployError: a file or a key is missing or cannot be used; names it.
        """
        folder = path if path.is_dir() else path.parent
        if path != folder and program is None:
            raise DeployError(_no_such_file(path, names))
        weights = _weights_of(program or folder / names[0])
        missing = [] if program else [f"{names[0]} (or {names[1]})"]
        missing += [file.name for file in (weights, folder / CONFIG) if file and not file.is_file()]
        if program is None or missing:
            raise DeployError(f"--model_dir: '{path}' is no exported model: {', '.join(missing)} missing; export one "
                              f"with tools/export_model.py{' --onnx' if names[0].endswith('.onnx') else ''}")
        settings = _read_config(folder / CONFIG)
        return cls(program=program, weights=weights, arch=settings["arch"],
                   labels=[str(label) for label in settings["label_list"]],
                   steps=preprocess.build(settings["Preprocess"]),
                   min_subgraph_size=int(settings.get("min_subgraph_size", 3)),
                   use_dynamic_shape=bool(settings.get("use_dynamic_shape", False)))


def _weights_of(program):
    return program.with_suffix(WEIGHTS[program.suffix]) if program.suffix in WEIGHTS else None


def _no_such_file(path, names):
    if not path.exists():
        return f"--model_dir: there is no '{path}'; export a model with tools/export_model.py"
    suffixes = dict.fromkeys(Path(name).suffix for name in names)
    return f"--model_dir: this --engine does not read '{path}'; it reads a folder, or {', '.join(suffixes)}"


def _read_config(path):
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeployError(f"'{path}' is not YAML: {' '.join(str(error).split())}") from None
    missing = [key for key in ("arch", "Preprocess", "label_list") if key not in (settings or {})]
    if missing:
        raise DeployError(f"'{path}' lacks {', '.join(missing)}; export the model again with tools/export_model.py")
    return settings
