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


# x2paddle writes the texts of a file into Python, which it then runs. So each text of an ONNX file is one of these:
# a name that is made anew, message -> its fields ...
RENAMED = {"GraphProto": ("name",), "NodeProto": ("name", "input", "output"), "ValueInfoProto": ("name",),
           "TensorProto": ("name",), "Dimension": ("dim_param",), "TensorAnnotation": ("tensor_name",),
           "FunctionProto": ("input", "output")}
# ... left out, as nothing is computed with it ...
DROPPED = ("doc_string", "metadata_props", "producer_name", "producer_version", "training_info",
           "quantization_annotation")
# ... numbers, as bytes ...
NUMBERS = ("raw_data",)
# ... or made of these signs: operators, modes, the equation of an Einsum. No quote, no bracket, no line
WORDS = re.compile(r"[A-Za-z0-9_.,> -]{0,200}")


class Stopped(Exception):
    """x2paddle gave up; the text holds what it printed last."""


class Refused(Exception):
    """The file holds what could be run, or leads out of its folder; the text says what."""


def read_onnx(path: pathlib.Path) -> Any:
    """The ``onnx.ModelProto`` of a file, whose names are letters, digits and ``_``; weights of other files included.

    Names that are so already stay, the others become so, each another.

    Raises:
        Refused: a text that is neither name nor word, or weights outside the file's folder.
    """
    import onnx
    from onnx.external_data_helper import load_external_data_for_model
    model = onnx.load(str(path), load_external_data=False)
    _check_texts(model, path.parent.resolve(), {"": ""}, set())
    load_external_data_for_model(model, str(path.parent))
    return model


def _check_texts(message, folder, names, taken):
    """``names``: {name in the file: its new name}, the same in all graphs of the file; ``taken``: the new ones."""
    kind = message.DESCRIPTOR.name
    if kind == "TensorProto":
        _check_place(message, folder)
    for field, value in message.ListFields():
        if field.name in DROPPED:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                if field.name != "external_data":
                    _check_texts(part, folder, names, taken)
        elif field.name in RENAMED.get(kind, ()):
            if isinstance(value, str):
                setattr(message, field.name, _plain(value, names, taken))
            else:
                value[:] = [_plain(name, names, taken) for name in value]
        elif field.name not in NUMBERS:
            for text in [value] if isinstance(value, (str, bytes, int, float)) else value:
                text = text.decode("latin-1") if isinstance(text, bytes) else text
                if isinstance(text, str) and not WORDS.fullmatch(text):
                    raise Refused(f"the text {text[:80]!r} ({kind}.{field.name}) could be run as Python by x2paddle")


def _plain(name, names, taken):
    if name not in names:
        base = re.sub("[^A-Za-z0-9_]", "_", name[:200])
        new = base if base not in taken else f"{base}_n{len(taken)}"
        while new in taken:
            new += "_"
        names[name] = new
        taken.add(new)
    return names[name]


def _check_place(tensor, folder):
    """Weights in a file of their own lie beside the model or below."""
    for entry in tensor.external_data:
        if entry.key == "location":
            target = (folder / entry.value).resolve()
            if folder not in target.parents or not target.is_file():
                raise Refused(f"its weights are in {entry.value[:200]!r}, which is no file in its folder")


def _convert_onnx(job):
    import onnx
    from x2paddle.convert import onnx2paddle
    model = read_onnx(pathlib.Path(job["model"]))
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
    except Refused:
        raise
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
    except Refused as error:
        result = {"refused": str(error)}
    except Exception as error:  # whatever x2paddle may raise
        traceback.print_exc()
        result = failure(error)
    pathlib.Path(job["report"]).write_text(json.dumps({"versions": versions, **result}))


if __name__ == "__main__":
    main()
