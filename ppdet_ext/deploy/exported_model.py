# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An exported model's folder: which files it must hold; what its infer_cfg.yml says is in infer_settings."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import infer_settings, preprocess
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
        settings = infer_settings.read(folder / CONFIG)
        return cls(program=program, weights=weights, arch=settings.arch, labels=settings.labels, steps=settings.steps,
                   min_subgraph_size=settings.min_subgraph_size, use_dynamic_shape=settings.use_dynamic_shape)


def _weights_of(program):
    return program.with_suffix(WEIGHTS[program.suffix]) if program.suffix in WEIGHTS else None


def _no_such_file(path, names):
    if not path.exists():
        return f"--model_dir: there is no '{path}'; export a model with tools/export_model.py"
    suffixes = dict.fromkeys(Path(name).suffix for name in names)
    return f"--model_dir: this --engine does not read '{path}'; it reads a folder, or {', '.join(suffixes)}"
