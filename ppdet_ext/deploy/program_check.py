# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a program from a stranger may hold, looked at before an engine sees the file.

A model's program is a list of operations. Paddle has some that write files or run Python, ONNX lets weights lie in any
file that the program names. Both are refused here.
"""
from __future__ import annotations

import contextlib
import json
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from xml.parsers import expat

from .deploy_error import DeployError, shown
from .paddle_operations import ALLOWED
from .protobuf import Buffer, Schema, fields, parts

#: bytes of a .json, .pdmodel or .xml, whose weights lie in another file; those of R101 at 640 are 1 MB
MAX_PROGRAM_BYTES = 64 << 20
#: the first part of a name in a .json: builtin, pd_op and cf, as numbers or words; others are a user's own operations
DIALECTS = ("0", "1", "2", "builtin", "pd_op", "cf")

PADDLE: Schema = {"program": {1: "block"}, "block": {4: "operation"}, "operation": {3: None}}
ONNX: Schema = {
    "model": {7: "graph", 20: "training", 25: "function"}, "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"}, "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {4: None, 5: "attribute"}, "sparse": {1: "tensor", 2: "tensor"}, "tensor": {13: None},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"}}
# its attributes name a file with a program of the device's own
NOT_IN_ONNX = ("EPContext",)


def check(program: Path) -> None:
    """Look through a program, by its suffix: .json, .pdmodel, .onnx or .xml.

    Raises:
        DeployError: it holds an operation or names a file that no detector needs, or it is no such program.
    """
    try:
        CHECKS[program.suffix](program)
    except OSError as error:
        raise DeployError(f"cannot read '{program}' ({error.strerror})") from None
    except (ValueError, RecursionError, expat.ExpatError) as error:
        if isinstance(error, DeployError):
            raise
        raise DeployError(f"cannot run '{program}': it is no {program.suffix} program, or a damaged one: "
                          f"{' '.join(str(error).split())[:200]}") from None


def _pdmodel(program):
    with _content(program) as data:
        names = {_text(content) for message, _, content in parts(data, "program", PADDLE) if message == "operation"}
    _refuse_others(program, names)


def _pir(program):
    """A .json has ``"#": NAME`` at each operation, type and attribute; no key may stand twice, readers differ there."""
    names: set[str] = set()

    def collect(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands twice")
        if isinstance(found.get("#"), str):  # a number: a block's argument
            names.add(found["#"])
        return found

    with _content(program) as data:
        whole = json.loads(bytes(data).decode("utf-8"), object_pairs_hook=collect)
    if not isinstance(whole, dict) or "program" not in whole:
        raise ValueError("it has no 'program'")
    _refuse_others(program, names, _pir_name)


def _pir_name(text):
    """The operation that a ``#`` names; None for a type, an attribute, a block or a region."""
    if text.startswith(("region_", "block_")):
        return None
    dialect, dot, name = text.rpartition(".")
    if dot and dialect not in DIALECTS:
        return text
    return None if dot and name.startswith(("t_", "a_")) else name


def _refuse_others(program, names, read=lambda text: text):
    found = filter(None, map(read, names))
    others = sorted(name for name in found if name.rstrip("_") not in ALLOWED)
    if others:
        raise DeployError(f"'{program}' holds the operation {shown(others[0])}, which is not among those that only "
                          "compute (deploy/paddle_operations.py); it was not run. Export the model with "
                          "tools/export_model.py")


def _onnx(program):
    with _content(program, limit=None) as data:
        for message, number, content in parts(data, "model", ONNX):
            if message == "tensor":
                entry = {number: _text(text) for number, text in fields(content) if text is not None}
                if entry.get(1) == "location":
                    _inside(program, entry.get(2, ""))
            elif (message, number) == ("node", 4) and _text(content) in NOT_IN_ONNX:
                raise DeployError(f"'{program}' holds the operation {shown(_text(content))}, which no detector needs; "
                                  "it was not run")


def _inside(program, location):
    """Weights may lie in a file beside the program or below, not where a path or a link leads out."""
    plain = not (PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor or "\0" in location)
    folder = program.parent.resolve()
    target = (folder / location).resolve() if plain else folder
    if target == folder or folder not in target.parents:
        raise DeployError(f"'{program}' takes weights from {shown(location)}, which is not in its folder; it was not "
                          "run")
    if not target.is_file():
        raise DeployError(f"'{program}' takes weights from {shown(location)}, and there is no such file")


def _openvino(program):
    """OpenVINO's own operations have the version opset1, opset2, ...; others are in libraries that a program loads."""
    def start(name, attributes):
        version = attributes.get("version", "")
        if name == "layer" and not version.startswith("opset"):
            raise DeployError(f"'{program}' holds the operation {shown(attributes.get('type'))} of {shown(version)}, "
                              "which is not OpenVINO's; it was not run")

    def doctype(*_):
        raise ValueError("it has a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.StartDoctypeDeclHandler = start, doctype
    with _content(program) as data:
        parser.Parse(bytes(data), True)


@contextlib.contextmanager
def _content(path: Path, limit: int | None = MAX_PROGRAM_BYTES) -> Iterator[Buffer]:
    with path.open("rb") as file:
        size = path.stat().st_size
        if limit and size > limit:
            raise DeployError(f"'{path}' has {size >> 20} MB; a program without its weights has less than "
                              f"{limit >> 20} MB")
        if not size:
            raise ValueError("it is empty")
        # it goes with its last view
        yield memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _text(content):
    return bytes(content).decode("utf-8", "replace")


CHECKS: dict[str, Callable[[Path], None]] = {
    ".json": _pir, ".pdmodel": _pdmodel, ".onnx": _onnx, ".xml": _openvino}
