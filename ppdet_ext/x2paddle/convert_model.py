# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``convert onnx``: x2paddle's program of an ONNX or TorchScript file, kept only where it computes the same."""
from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..files import sha256, temporary_folder
from ..weights import parity
from . import SHAPE

WORKER = Path(__file__).with_name("x2paddle_worker.py")
KINDS = {".onnx": "onnx", ".pt": "torch", ".pth": "torch", ".ts": "torch"}
TIMEOUT = 1800  # seconds
MAX_NUMBERS = 1 << 28  # in the image; 1 GB
INSTALL = 'pip install "ppdet-ext[x2paddle]"'


@dataclass(frozen=True)
class Outcome:
    """What x2paddle made of a file.

    ``rows`` are the outputs' parity at the first shape (None: there was no reference to compare with), ``others`` the
    largest error, or the failure in words, at each further shape.
    """
    rows: list[parity.StageParity] | None
    others: dict[str, float | str]
    versions: dict[str, str]


class Failed(UserError):
    """x2paddle made no program of the file; ``step`` is convert, optimise, export or run; ``reason``: its words."""

    def __init__(self, message: str, step: str, reason: str = ""):
        super().__init__(message)
        self.step, self.reason = step, reason or message


def convert(model: str | Path, output: str | Path, shapes: Sequence[Sequence[int]] = (SHAPE,),
            python: str | Path | None = None) -> Outcome:
    """Convert an ONNX or TorchScript file.

    Args:
        model: .onnx, or TorchScript as .pt, .pth or .ts.
        output: folder for x2paddle_code.py, model.pdparams, inference_model/ and x2paddle.json; must not exist.
        shapes: of the image; the first is the one to convert with, the others are tried afterwards.
        python: interpreter of the environment that has x2paddle; None for $X2PADDLE_PYTHON, or this one.

    Raises:
        Failed: x2paddle stops, at the step and with the words that the message gives.
        UserError: another kind of file; x2paddle is not installed; the outputs are not the file's; a text or a path of
            an ONNX file could do more than name a value.
    """
    model, output = Path(model), Path(output)
    if model.suffix not in KINDS:
        raise UserError(f"convert onnx takes {', '.join(KINDS)} (ONNX or TorchScript), not '{model.name}'")
    for shape in shapes:
        if min(shape) < 1 or math.prod(shape) > MAX_NUMBERS:
            raise UserError(f"--input-shape: {' '.join(map(str, shape))} must be numbers from 1, together at most "
                            f"{MAX_NUMBERS} numbers")
    if not model.is_file():
        raise UserError(f"there is no model file '{model}'")
    if output.exists():
        raise UserError(f"'{output}' exists; name a new folder for x2paddle's files")
    with temporary_folder(output) as folder:
        made = folder.resolve() / "made"
        job = {"kind": KINDS[model.suffix], "model": str(model.resolve()), "output": str(made),
               "report": str(made.with_name("report.json")), "shapes": [list(shape) for shape in shapes]}
        outcome = _outcome(_run(job, str(python or os.environ.get("X2PADDLE_PYTHON") or sys.executable)), model)
        if outcome.rows is not None:
            parity.check(outcome.rows)
        code = made / "x2paddle_code.py"
        if code.is_file():  # it names the folder it was made in
            text = code.read_text(encoding="utf-8").replace(str(made), str(output.resolve()))
            code.write_text(text, encoding="utf-8")
        about = {"model": str(model), "sha256": sha256(model), "versions": outcome.versions, "others": outcome.others,
                 "parity": [row._asdict() for row in outcome.rows or ()], "shape": job["shapes"][0]}
        (made / "x2paddle.json").write_text(json.dumps(about, indent=1))
        shutil.move(str(made), str(output))
    return outcome


def summary(outcome: Outcome, output: str | Path) -> str:
    """What a person wants to know, as text."""
    versions = ", ".join(f"{name} {version}" for name, version in outcome.versions.items())
    parity_text = parity.table(outcome.rows) if outcome.rows is not None else \
        "NOT COMPARED with the model: there is no onnxruntime beside x2paddle"
    others = [f"{shape}: {result if isinstance(result, str) else f'{result:.2e}'}"
              for shape, result in outcome.others.items()]
    return "\n".join([f"by {versions}", parity_text, *others, f"written: {output}",
                      "x2paddle's names are not the source's and its BatchNorm stays in inference mode: for training, "
                      "a network that timm or torchvision has by name is better taken through convert backbone"])


def _run(job: dict[str, Any], python: str) -> dict[str, Any]:
    """The worker's report."""
    try:
        done = subprocess.run([python, "-I", str(WORKER), json.dumps(job)], env={**os.environ, "MPLBACKEND": "agg"},
                              timeout=TIMEOUT, capture_output=True, text=True, errors="replace")
    except subprocess.TimeoutExpired:
        raise Failed(f"x2paddle did not end within {TIMEOUT} seconds", "convert") from None
    except OSError as error:
        raise UserError(f"$X2PADDLE_PYTHON: '{python}' cannot be run ({error.strerror})") from None
    if not Path(job["report"]).is_file():
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise Failed(f"x2paddle's process ended with code {done.returncode}: {last}", "convert")
    return json.loads(Path(job["report"]).read_text())


def _outcome(report, model):
    versions = report["versions"]
    if "x2paddle" not in versions:
        raise UserError(f"convert onnx needs x2paddle: {INSTALL}, or point X2PADDLE_PYTHON at an environment with it")
    if "refused" in report:
        raise UserError(f"'{model}' is not converted: {report['refused']}")
    first, *others = report.get("runs") or [report]
    if "error" in first:
        known = ", ".join(f"{name} {versions[name]}" for name in ("torch", "onnx", "paddlepaddle") if name in versions)
        raise Failed(f"x2paddle {versions['x2paddle']} fails on '{model.name}' at its step '{first['step']}' (with "
                     f"{known}): {first['error']}", first["step"], first["error"])
    return Outcome(_rows(first), {"x".join(map(str, run["shape"])): _worst(run) for run in others}, versions)


def _rows(run):
    with np.load(run["file"]) as arrays:
        ours, theirs = ([arrays[key] for key in arrays if key.startswith(f"{name}_")] for name in ("ours", "theirs"))
    if not theirs:
        return None
    try:
        return parity.compare_stages(ours, theirs, [f"output{index}" for index in range(len(ours))])
    except ValueError as error:
        raise Failed(f"x2paddle's program gives another result than the model: {error}", "run") from None


def _worst(run):
    """The largest error of a run at another shape, or what went wrong."""
    if "error" in run:
        return f"fails at '{run['step']}': {run['error']}"
    try:
        rows = _rows(run)
    except Failed as error:
        return str(error)
    return max(row.error for row in rows) if rows else "not compared"
