# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Runs x2paddle on one file: a process of its own, since x2paddle exits, prints and sets Paddle's mode as it likes.

Started by ppdet_ext.x2paddle.convert_model as a plain script (python -I), maybe in another environment; imports nothing
of this package. Its first argument is the job (JSON); what happened is written to job['report'].
"""
from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import pathlib
import re
import sys
import traceback
from typing import Any

import numpy as np

# attributes that say what the ONNX standard says anyway, and at which x2paddle stops: operator -> (name, its default)
REDUNDANT = {"MaxPool": ("dilations", 1), "AveragePool": ("dilations", 1)}
PACKAGES = ("x2paddle", "paddlepaddle", "paddlepaddle-gpu", "torch", "onnx", "numpy")


class Stopped(Exception):
    """x2paddle gave up; the text holds what it printed last."""


def _convert_onnx(job):
    import onnx
    from x2paddle.convert import onnx2paddle
    model = onnx.load(job["model"])
    for node in model.graph.node:
        name, default = REDUNDANT.get(node.op_type, ("", None))
        for attribute in [a for a in node.attribute if a.name == name and set(a.ints) == {default}]:
            node.attribute.remove(attribute)
    prepared = str(pathlib.Path(job["output"]).parent / "prepared.onnx")
    onnx.save(model, prepared)
    weights = {item.name for item in model.graph.initializer}
    shapes = {value.name: job["shapes"][0] for value in model.graph.input if value.name not in weights}
    onnx2paddle(prepared, job["output"], input_shape_dict=str(shapes), disable_feedback=True)


def _convert_torch(job):
    import torch
    from x2paddle.convert import pytorch2paddle
    model = torch.jit.load(job["model"], map_location="cpu").eval()
    pytorch2paddle(model, job["output"], "trace", [torch.zeros(job["shapes"][0])], disable_feedback=True)


def _run_onnx(path, image):
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})


def _run_torch(path, image):
    import torch
    with torch.no_grad():
        return _arrays(torch.jit.load(path, map_location="cpu").eval()(torch.from_numpy(image)))


def _run_paddle(folder, image):
    """The exported program, as an application would run it."""
    import paddle
    paddle.disable_static()
    net = paddle.jit.load(str(pathlib.Path(folder) / "inference_model" / "model"))
    net.eval()
    return _arrays(net(paddle.to_tensor(image)))


def _arrays(outputs):
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [np.asarray(value.numpy()) for value in outputs]


# kind of file -> (how x2paddle converts it, how its own framework runs it)
KINDS = {"onnx": (_convert_onnx, _run_onnx), "torch": (_convert_torch, _run_torch)}


def convert(job: dict[str, Any]) -> None:
    """Run x2paddle; what it prints goes to stderr, and into the error where that says less."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            KINDS[job["kind"]][0](job)
    except SystemExit:
        raise Stopped(_last_words(said) or "exit() without a word") from None
    except Exception:
        lacking = re.search(r"\d+ OPs are not supported.*", _last_words(said))
        if lacking:  # which operators, it has printed; the error does not say
            raise Stopped(lacking.group()) from None
        raise
    finally:
        sys.stderr.write(said.getvalue())
    if not any(pathlib.Path(job["output"]).glob("inference_model/model.*")):
        raise Stopped(_last_words(said) or "it wrote no model")


def _last_words(said):
    return " ".join(said.getvalue().replace("=", " ").split())[-250:]


def compare(job: dict[str, Any], shape: list[int], seed: int) -> dict[str, Any]:
    """One run on a random image: {'shape', 'step', 'error'}, or {'shape', 'file'} with arrays ours_0, theirs_0, ..."""
    image, step = np.random.RandomState(seed).randn(*shape).astype(np.float32), "reference"
    try:
        theirs = KINDS[job["kind"]][1](job["model"], image)
        step = "run"
        ours = _run_paddle(job["output"], image)
    except Exception as error:  # whatever the two programs may raise
        return {"shape": shape, **failure(error, step)}
    path = f"{job['report']}.{seed}.npz"
    np.savez(path, **{f"ours_{i}": value for i, value in enumerate(ours)},
             **{f"theirs_{i}": value for i, value in enumerate(theirs or [])})
    return {"shape": shape, "file": path}


def failure(error: BaseException, step: str = "") -> dict[str, str]:
    """What failed, in which of x2paddle's steps, with the reason that it may have swallowed."""
    frames = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    step = step or ("export" if "gen_model" in frames else "optimise" if "optimize" in frames else "convert")
    said = [str(error)] if isinstance(error, Stopped) else \
        [f"{type(e).__name__}: {e}" for e in (error, error.__context__) if e is not None]
    return {"step": step, "error": " ".join(" <- ".join(said).split())[:400]}


def main() -> None:
    """Do the job of the command line."""
    job, versions = json.loads(sys.argv[1]), {}
    result: dict[str, Any]
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    try:
        convert(job)
        result = {"runs": [compare(job, shape, seed) for seed, shape in enumerate(job["shapes"])]}
    except Exception as error:  # whatever x2paddle may raise
        traceback.print_exc()
        result = failure(error)
    pathlib.Path(job["report"]).write_text(json.dumps({"versions": versions, **result}))


if __name__ == "__main__":
    main()
