# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Runs x2paddle on one file: a process of its own, since x2paddle exits, prints and sets Paddle's mode as it likes.

Started by ppdet_ext.x2paddle.convert_model as a plain script (python -I), maybe in another environment; imports nothing
of this package. Reads a job (JSON) from its first argument, writes what happened to job['report'].
"""
import contextlib
import io
import json
import pathlib
import re
import sys
import traceback

import numpy as np

# attributes that say what the ONNX standard says anyway, and at which x2paddle stops: operator -> (name, its default)
REDUNDANT = {"MaxPool": ("dilations", 1), "AveragePool": ("dilations", 1)}
RUN = {"torch": lambda model, image: _torch_run(model, image), "onnx": lambda model, image: _onnx_run(model, image)}


class Stopped(Exception):
    """x2paddle gave up; the text holds what it printed last."""


def convert_onnx(job):
    import onnx
    from x2paddle.convert import onnx2paddle
    model = onnx.load(job["model"])
    for node in model.graph.node:
        name, default = REDUNDANT.get(node.op_type, ("", None))
        for attribute in [a for a in node.attribute if a.name == name and set(a.ints) == {default}]:
            node.attribute.remove(attribute)
    prepared = str(pathlib.Path(job["output"]).parent / "prepared.onnx")
    onnx.save(model, prepared)
    shapes = {value.name: job["shapes"][0] for value in model.graph.input
              if value.name not in {item.name for item in model.graph.initializer}}
    onnx2paddle(prepared, job["output"], input_shape_dict=str(shapes), disable_feedback=True)


def convert_torch(job):
    import torch
    from x2paddle.convert import pytorch2paddle
    model = torch.jit.load(job["model"], map_location="cpu").eval()
    pytorch2paddle(model, job["output"], "trace", [torch.zeros(job["shapes"][0])], disable_feedback=True)


CONVERT = {"onnx": convert_onnx, "torch": convert_torch}


def _torch_run(path, image):
    import torch
    with torch.no_grad():
        return _arrays(torch.jit.load(path, map_location="cpu").eval()(torch.from_numpy(image)))


def _onnx_run(path, image):
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})


def _paddle_run(folder, image):
    """The exported program, as an application would run it."""
    import paddle
    paddle.disable_static()
    net = paddle.jit.load(str(pathlib.Path(folder) / "inference_model" / "model"))
    net.eval()
    return _arrays(net(paddle.to_tensor(image)))


def _arrays(outputs):
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [np.asarray(value.numpy()) for value in outputs]


def convert(job):
    """Run x2paddle; what it prints goes to stderr, and into the error where that says less."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            CONVERT[job["kind"]](job)
    except SystemExit:
        raise Stopped(last_words(said) or "exit() without a word") from None
    except Exception:
        lacking = re.search(r"\d+ OPs are not supported.*", last_words(said))
        if lacking:  # which operators, it has printed; the error does not say
            raise Stopped(lacking.group()) from None
        raise
    finally:
        sys.stderr.write(said.getvalue())
    if not any(pathlib.Path(job["output"]).glob("inference_model/model.*")):
        raise Stopped(last_words(said) or "it wrote no model")


def last_words(said):
    return " ".join(said.getvalue().replace("=", " ").split())[-250:]


def compare(job):
    """[{'shape', 'step', 'error'} or {'shape', 'file'}] for each of job['shapes']; files hold ours_0, theirs_0, ..."""
    rows = []
    for index, shape in enumerate(job["shapes"]):
        image = np.random.RandomState(index).randn(*shape).astype(np.float32)
        arrays, step = {"image": image}, "reference"
        try:
            theirs = RUN[job["kind"]](job["model"], image)
            step = "run"
            ours = _paddle_run(job["output"], image)
        except Exception as error:
            rows.append({"shape": shape, **failure(error, step)})
            continue
        for name, values in (("ours", ours), ("theirs", theirs or [])):
            arrays.update({f"{name}_{i}": value for i, value in enumerate(values)})
        path = f"{job['report']}.{index}.npz"
        np.savez(path, **arrays)
        rows.append({"shape": shape, "file": path})
    return rows


def failure(error, step=""):
    """What failed, in which of x2paddle's steps, with the reason that it may have swallowed."""
    frames = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    step = step or ("export" if "gen_model" in frames else "optimise" if "optimize" in frames else "convert")
    said = [str(error)] if isinstance(error, Stopped) else \
        [f"{type(e).__name__}: {e}" for e in (error, error.__context__) if e is not None]
    return {"step": step, "error": " ".join(" <- ".join(said).split())[:400]}


def versions():
    import importlib.metadata
    names = ("x2paddle", "paddlepaddle", "paddlepaddle-gpu", "torch", "onnx", "numpy")
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def main():
    job = json.loads(pathlib.Path(sys.argv[1]).read_text())
    report = {"versions": versions()}
    try:
        convert(job)
        report["runs"] = compare(job)
    except Exception as error:  # whatever x2paddle may raise
        traceback.print_exc()
        report.update(failure(error))
    pathlib.Path(job["report"]).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
