# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An exported Paddle program as an .onnx file, by paddle2onnx in a process of its own.

That process runs the Python that PPDET_EXT_ONNX_PYTHON names, for those whose Paddle (2.6) or other packages do not go
with paddle2onnx; else the Python that runs now.
"""
from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import paddle

from ..deploy import ENGINES
from ..errors import UserError

WORKER = Path(__file__).with_name("_paddle2onnx_worker.py")
VARIABLE = "PPDET_EXT_ONNX_PYTHON"
FILE = "model.onnx"
TIMEOUT = 1800  # seconds
INSTALL = 'pip install "paddle2onnx==2.1.0" onnxruntime "numpy<1.24"'
OWN_PLACE = ('python -m venv .venv-onnx && .venv-onnx/bin/pip install "paddlepaddle==3.3.1" "paddle2onnx==2.1.0"; '
             f"export {VARIABLE}=.venv-onnx/bin/python")


def require() -> str:
    """Look for what ``convert`` and the verification need, before any time is spent.

    Returns:
        The name of the engine that can verify the file: the first of ``deploy.ENGINES`` for .onnx that is installed.

    Raises:
        UserError: no paddle2onnx, or nothing that runs .onnx.
    """
    given = os.environ.get(VARIABLE)
    if given and not os.access(given, os.X_OK):
        raise UserError(f"{VARIABLE}: '{given}' is no program that can be run")
    if not given and (_paddle_2() or importlib.util.find_spec("paddle2onnx") is None):
        raise UserError(f"--onnx needs paddle2onnx; {_how()}")
    engine = next((name for name, runtime in ENGINES.items() if FILE in runtime.files and runtime.installed), None)
    if engine is None:
        raise UserError("--onnx verifies the file and needs an engine that runs it: pip install onnxruntime")
    return engine


def convert(folder: str | Path) -> None:
    """Write ``folder``/model.onnx from the program and weights there; the names and order of inputs and outputs stay.

    Raises:
        UserError: paddle2onnx is not there or stops; with its own words.
    """
    given = os.environ.get(VARIABLE)
    # another Python must not see this one's packages
    command = [given, "-I"] if given else [sys.executable]
    try:
        done = subprocess.run([*command, str(WORKER), str(folder), str(Path(folder) / FILE)], timeout=TIMEOUT,
                              text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired:
        raise UserError(f"paddle2onnx did not end within {TIMEOUT} seconds") from None
    except OSError as error:
        raise UserError(f"{VARIABLE}: '{given}' cannot be run ({error.strerror})") from None
    if done.returncode or not (Path(folder) / FILE).is_file():
        raise UserError(f"the model cannot be converted to ONNX: {_reason(done)}")


def _paddle_2() -> bool:
    """paddle2onnx 2.1.0 reads what Paddle 2 wrote, but runs under Paddle 3 only."""
    return paddle.__version__.startswith("2.")


def _how() -> str:
    """The commands that bring paddle2onnx."""
    if _paddle_2():
        return f"it needs Paddle 3, in an environment of its own: {OWN_PLACE}"
    return f"run: {INSTALL} (or, in an environment of its own: {OWN_PLACE})"


def _reason(done: subprocess.CompletedProcess) -> str:
    """What paddle2onnx or its process said, in one line."""
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    told = [line for line in lines if "Failed to convert" in line or line.startswith("[ERROR]")]
    missing = [line for line in lines if line.startswith("ModuleNotFoundError")]
    if missing:
        return f"{missing[-1]}; {_how()}"
    return f"{(told or lines or ['without a word'])[-1]} (paddle2onnx ended with code {done.returncode})"
