# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Which runtimes there are, what each reads, and how one is chosen. One file per runtime beside this one.

A runtime's file has a class ``Engine``: made of (ExportedModel, Options), it has ``input_names`` and
``run({name: array}) -> [array]``, the outputs in the model's order. Its package is imported when it is used.
"""
from __future__ import annotations

import importlib
import importlib.util
import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .command_line import LIMITS, outside
from .deploy_error import DeployError
from .devices import DEVICES
from .exported_model import ExportedModel


@dataclass(frozen=True)
class Options:
    """How to run: PaddleDetection's deployment flags of the same names, ``engine`` and ``precision``.

    ``engine`` None: the first of ENGINES that reads the model. ``cpu_threads`` None: all cores. ``precision``: one of
    PRECISIONS; ``enable_mkldnn_bfloat16`` is PaddleDetection's name for bf16. ``shared_cores``: other processes want
    the cores, so that threads sleep while they wait, where the engine would let them spin; no flag, a server sets it.
    """

    engine: str | None = None
    precision: str = "fp32"
    device: str = "cpu"
    run_mode: str = "paddle"
    batch_size: int = 1
    enable_mkldnn: bool = False
    enable_mkldnn_bfloat16: bool = False
    cpu_threads: int | None = None
    trt_min_shape: int = 1
    trt_max_shape: int = 1280
    trt_opt_shape: int = 640
    trt_calib_mode: bool = False
    collect_trt_shape_info: bool = False
    tuned_trt_shape_file: str = "shape_range_info.pbtxt"
    shared_cores: bool = False

    @property
    def threads(self) -> int:
        """The number of threads on the CPU."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.cpu_threads or cores

    @property
    def bf16(self) -> bool:
        """Whether the part of the model that sees the picture computes in bfloat16."""
        return self.precision == "bf16" or self.enable_mkldnn_bfloat16


def of_flags(args: Namespace) -> dict[str, Any]:
    """The fields of Options that a command line has a flag for, see ``command_line.add_engine_flags``."""
    return {field.name: getattr(args, field.name) for field in fields(Options) if hasattr(args, field.name)}


class Engine(Protocol):
    """What the class of that name in each runtime's file has."""

    input_names: Sequence[str]

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs, in the model's order, for ``{name: array}``."""


@dataclass(frozen=True)
class Runtime:
    """One row of ENGINES.

    Attributes:
        package: what must be importable; ``install`` is what pip calls it.
        files: the names of what it reads in a model's folder, best first; their suffixes are what it reads by path.
        options: the fields of Options that it heeds, beside COMMON.
    """

    package: str
    install: str
    files: tuple[str, ...]
    options: tuple[str, ...] = ()

    @property
    def installed(self) -> bool:
        """Whether its package can be imported."""
        return importlib.util.find_spec(self.package) is not None

    def find(self, path: Path) -> Path | None:
        """The file that it would run: ``path`` itself, or the best one in the folder ``path``; None."""
        if path.is_dir():
            return next((path / name for name in self.files if (path / name).is_file()), None)
        return path if path.is_file() and path.suffix in {Path(name).suffix for name in self.files} else None


PRECISIONS = ("fp32", "bf16")
COMMON = ("engine", "device", "batch_size", "cpu_threads", "shared_cores")
ENGINES = {
    # Paddle 3 writes .json, Paddle 2 .pdmodel; PaddleX names them inference.*
    "paddle": Runtime("paddle", "paddlepaddle",
                      ("model.json", "model.pdmodel", "inference.json", "inference.pdmodel"),
                      tuple(field.name for field in fields(Options) if field.name not in COMMON)),
    "onnxruntime": Runtime("onnxruntime", "onnxruntime", ("model.onnx", "inference.onnx")),
    "openvino": Runtime("openvino", "openvino", ("model.onnx", "inference.onnx", "model.xml", "inference.xml"),
                        ("precision",)),
}


def create(path: str | Path, options: Options) -> tuple[ExportedModel, str, Engine]:
    """Open an exported model and start its engine.

    Args:
        path: what tools/export_model.py wrote: the folder, or one file in it that an engine reads.
        options: Options.

    Returns:
        (ExportedModel, the engine's name, its Engine).

    Raises:
        DeployError: no exported model, the engine is not installed, or the options are not for it or this machine.
    """
    model, options = choose(path, options)
    name = str(options.engine)
    return model, name, _engine_class(name)(model, options)


def choose(path: str | Path, options: Options) -> tuple[ExportedModel, Options]:
    """Open an exported model, and see which engine it would be, without loading that.

    Returns:
        (ExportedModel, the options with ``engine`` set).

    Raises:
        DeployError: see ``create``.
    """
    path = Path(path)
    name = options.engine or next((name for name, runtime in ENGINES.items() if runtime.find(path)), "paddle")
    if name not in ENGINES:
        raise DeployError(f"--engine: '{name}' is unknown; it can be {', '.join(ENGINES)}")
    model = ExportedModel.open(path, ENGINES[name].find(path), ENGINES[name].files)
    options = replace(options, engine=name, device=options.device.lower())
    _check(options)
    return model, options


def _engine_class(name):
    try:
        return importlib.import_module(f".{name}_engine", __package__).Engine
    except ImportError as error:  # numpy or another library of another version than it was built for
        raise DeployError(f"--engine {name}: {ENGINES[name].package} cannot be imported: {error}") from error


def _check(options):
    runtime = ENGINES[options.engine]
    if not runtime.installed:
        raise DeployError(f"--engine {options.engine} needs the package {runtime.install}: "
                          f"pip install {runtime.install}")
    if options.device not in DEVICES:
        raise DeployError(f"--device: '{options.device}' is unknown; it can be {', '.join(DEVICES)}")
    for field in fields(Options):
        value = getattr(options, field.name)
        wrong = field.name in LIMITS and value is not None and outside(field.name, value)
        if wrong:
            raise DeployError(f"--{field.name} {wrong}")
    if options.precision not in PRECISIONS:
        raise DeployError(f"--precision: '{options.precision}' is unknown; it can be {', '.join(PRECISIONS)}")
    for field in fields(Options):
        if field.name not in (*COMMON, *runtime.options) and getattr(options, field.name) != field.default:
            owners = [name for name, other in ENGINES.items() if field.name in other.options]
            raise DeployError(f"--{field.name} is for --engine {' or '.join(owners)}; --engine {options.engine} does "
                              "not have it")
    if options.bf16 and options.device != "cpu":
        raise DeployError(f"bf16 is for --device CPU here, not {options.device.upper()}")
