# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An exported model as a new version in a model repository of Triton Inference Server.

    REPOSITORY/NAME/config.pbtxt    what Triton is told, by the fields of its model_config.proto
    REPOSITORY/NAME/labels.txt      class names, a line each; the class number is the line's, from 0
    REPOSITORY/NAME/1/              model.onnx, or model.xml and model.bin; infer_cfg.yml, for who prepares pictures
"""
from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import atomic_path, one_line, require_room, temporary_folder

FILE, LABELS, SETTINGS = "model.onnx", "labels.txt", "config.pbtxt"
# ONNX Runtime's and OpenVINO's names -> Triton's
TYPES = {"tensor(float)": "TYPE_FP32", "tensor(int32)": "TYPE_INT32", "tensor(int64)": "TYPE_INT64",
         "f32": "TYPE_FP32", "i32": "TYPE_INT32", "i64": "TYPE_INT64"}


@dataclass(frozen=True)
class Tensor:
    """An input or output: its name, Triton's name of its type, its sides (-1: any)."""

    name: str
    type: str
    dims: Sequence[int]


@dataclass(frozen=True)
class Backend:
    """One of Triton's ways to run a model.

    Attributes:
        write: (the .onnx file, a folder) -> (inputs, outputs); puts the model's files into the folder.
        kind: on what its instances run.
    """

    write: Callable[[Path, Path], tuple[list[Tensor], list[Tensor]]]
    kind: str


def _onnxruntime(file: Path, folder: Path) -> tuple[list[Tensor], list[Tensor]]:
    import onnxruntime

    def tensors(entries: Sequence[Any]) -> list[Tensor]:
        return [_named(entry.name, entry.type, [side if isinstance(side, int) else -1 for side in entry.shape])
                for entry in entries]

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors; it tells of every constant that is not used otherwise
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it is only asked, not run
    session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    shutil.copyfile(file, folder / FILE)
    return tensors(session.get_inputs()), tensors(session.get_outputs())


def _openvino(file: Path, folder: Path) -> tuple[list[Tensor], list[Tensor]]:
    import openvino

    from ..deploy.openvino_engine import shared_core

    def tensors(ports: Sequence[Any]) -> list[Tensor]:
        return [_named(port.any_name, port.element_type.to_string(),
                       [-1 if side.is_dynamic else side.get_length() for side in port.partial_shape]) for port in ports]

    model = shared_core().read_model(file)
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    return tensors(model.inputs), tensors(model.outputs)


def _named(name: str, kind: str, dims: Sequence[int]) -> Tensor:
    if kind not in TYPES:
        raise UserError(f"--triton: the model's '{name}' is of the type {kind}, which is not known here "
                        f"({', '.join(TYPES)})")
    return Tensor(name, TYPES[kind], dims)


DEFAULT = "onnxruntime"
BACKENDS = {"onnxruntime": Backend(_onnxruntime, "KIND_AUTO"), "openvino": Backend(_openvino, "KIND_CPU")}


def require(backend: str) -> None:
    """Raise UserError where what reads the model for ``backend`` is not installed."""
    if importlib.util.find_spec(backend) is None:
        raise UserError(f"--triton with the backend {backend} reads the model by {backend}: pip install {backend}")


def add_version(folder: Path, repository: Path, backend: str = DEFAULT) -> Path:
    """Put an export into a repository, below its folder's name, as the version after the highest that is there.

    Versions that are there stay as they are, and so does a config.pbtxt that says what is needed.

    Args:
        folder: what ``export_model`` wrote, with model.onnx.
        repository: of Triton's models; made where missing.
        backend: one of BACKENDS.

    Returns:
        The version's folder.

    Raises:
        UserError: the repository cannot be written, or has another model of that name.
    """
    from ..deploy import infer_settings
    from ..deploy.exported_model import CONFIG

    require(backend)
    target = Path(repository) / folder.resolve().name
    labels = "".join(f"{label}\n" for label in infer_settings.read(folder / CONFIG).labels)
    # within the model's folder: a server that looks for models meanwhile would take one beside it for another model
    with temporary_folder(target / "version") as temporary, one_line(target):
        inputs, outputs = BACKENDS[backend].write(folder / FILE, temporary)
        shutil.copyfile(folder / CONFIG, temporary / CONFIG)
        require_room(temporary)
        _keep_or_write(target / SETTINGS, config_text(target.name, backend, inputs, outputs), others=True)
        _keep_or_write(target / LABELS, labels, others=False)
        version = target / str(1 + max(versions(target), default=0))
        # as one, so that a server that looks meanwhile sees a whole version or none
        os.rename(temporary, version)
    return version


def versions(target: Path) -> list[int]:
    """The versions of a model that are there."""
    return [int(path.name) for path in target.iterdir() if path.name.isdecimal()] if target.is_dir() else []


def _keep_or_write(path: Path, text: str, others: bool) -> None:
    """Write a file that is not there; one that is must have all lines of ``text``, and with ``others`` more of them."""
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return
    there, wanted = ([line.strip() for line in lines.splitlines()] for lines in (
        path.read_text(encoding="utf-8", errors="replace"), text))
    missing = next((line for line in wanted if line not in there), None)
    if missing is not None or (there != wanted and not others):
        what = f"it lacks the line {missing[:200]!r}" if missing else "its lines are others, or in another order"
        raise UserError(f"'{path}' is of another model: {what}; export to another repository, or under another name of "
                        "the config")


def config_text(name: str, backend: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    """config.pbtxt: protobuf's text format of Triton's ModelConfig.

    max_batch_size is 0: the outputs of a batch lie one after the other (boxes [sum, 6], their numbers [N]), so that
    Triton cannot cut them into requests itself; a request may hold as many pictures as it likes.
    """
    fields = [("name", name), ("backend", backend), ("max_batch_size", 0),
              *(("input", _tensor(tensor)) for tensor in inputs), *(("output", _tensor(tensor)) for tensor in outputs),
              ("instance_group", [("count", 1), ("kind", Word(BACKENDS[backend].kind))]),
              ("version_policy", [("latest", [("num_versions", 1)])]),
              ("parameters", [("key", "labels_file"), ("value", [("string_value", LABELS)])])]
    return "".join(f"{line}\n" for line in text_lines(fields))


class Word(str):
    """A name of an enumeration, which stands without quotes."""


def _tensor(tensor: Tensor) -> list[tuple[str, Any]]:
    return [("name", tensor.name), ("data_type", Word(tensor.type)), ("dims", list(tensor.dims))]


def text_lines(fields: Sequence[tuple[str, Any]], indent: str = "") -> list[str]:
    """Protobuf's text format of (name, value): a text, a Word, a number, a list of numbers, a message as such pairs."""
    lines = []
    for name, value in fields:
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            lines += [f"{indent}{name} {{", *text_lines(value, indent + "  "), f"{indent}}}"]
        else:
            lines.append(f"{indent}{name}: {_scalar(value)}")
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, Word) or not isinstance(value, str):
        return str(value)
    escaped = "".join(sign if sign.isprintable() and sign not in '"\\' else
                      "".join(f"\\{byte:03o}" for byte in sign.encode()) for sign in value)
    return f'"{escaped}"'
