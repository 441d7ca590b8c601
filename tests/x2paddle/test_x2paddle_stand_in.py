# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""convert onnx with a stand-in for x2paddle's process: what is kept of its work, one line for each way it fails.

x2paddle itself runs in test_x2paddle.py, which is slow.
"""
import json
import sys

import numpy as np
import pytest

from ppdet_ext.errors import UserError
from ppdet_ext.x2paddle import convert_model
from ppdet_ext.x2paddle import x2paddle_worker as worker

VERSIONS = {"x2paddle": "1.6.0", "paddlepaddle": "3.3.1", "torch": "2.14.1"}
# called as the worker is: python -I FILE JOB
STAND_IN = """#!{python}
import json, pathlib, shutil, sys
job, plan = json.loads(sys.argv[-1]), pathlib.Path({plan!r})
made = pathlib.Path(job["output"])
(made / "inference_model").mkdir(parents=True)
(made / "x2paddle_code.py").write_text(f"paddle.load(r'{{made}}/model.pdparams')")
report = json.loads((plan / "report.json").read_text())
for shape, run in zip(job["shapes"], report.get("runs", [])):
    run["shape"] = shape
pathlib.Path(job["report"]).write_text(json.dumps(report))
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(b"TorchScript")
    return path


@pytest.fixture
def stand_in(tmp_path_factory, monkeypatch):
    """``stand_in(report, outputs)``: $X2PADDLE_PYTHON is a program that writes x2paddle's files and this report.

    ``outputs`` has for each shape (ours, theirs), or what failed.
    """
    folder = tmp_path_factory.mktemp("stand_in")

    def plan(report, outputs=()):
        runs = []
        for index, values in enumerate(outputs):
            if isinstance(values, dict):
                runs.append(values)
                continue
            path = folder / f"{index}.npz"
            np.savez(path, **{f"{name}_0": value for name, value in zip(("ours", "theirs"), values)})
            runs.append({"file": str(path)})
        report = {"versions": VERSIONS, **({"runs": runs} if runs else {}), **report}
        (folder / "report.json").write_text(json.dumps(report))
        program = folder / "python"
        program.write_text(STAND_IN.format(python=sys.executable, plan=str(folder)))
        program.chmod(0o755)
        monkeypatch.setenv("X2PADDLE_PYTHON", str(program))
    return plan


def convert(tool, monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", "onnx", *map(str, args)])
    tool("convert_weights").main()


def test_what_is_written_and_said(tmp_path, model, stand_in, monkeypatch, tool, capsys):
    stand_in({}, [(np.ones(3), np.full(3, 1 + 1e-6))])
    convert(tool, monkeypatch, model, "-o", tmp_path / "out", "--input-shape", 1, 3, 64, 64)
    shown = capsys.readouterr().out
    assert "x2paddle 1.6.0" in shown and "output0" in shown and "1.000e-06" in shown
    about = json.loads((tmp_path / "out" / "x2paddle.json").read_text())
    assert about["shape"] == [1, 3, 64, 64] and about["parity"][0]["error"] < 1e-5 and len(about["sha256"]) == 64
    assert (tmp_path / "out" / "x2paddle_code.py").read_text() == f"paddle.load(r'{tmp_path}/out/model.pdparams')"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pt", "out"]


@pytest.mark.parametrize("report, outputs, message", [
    ({"step": "convert", "error": "KeyError: 'aten::x'"}, (), "x2paddle 1.6.0 fails on 'net.pt' at its step 'convert' "
     r"\(with torch 2.14.1, paddlepaddle 3.3.1\): KeyError: 'aten::x'"),
    ({}, [{"step": "run", "error": "TypeError: x"}], "at its step 'run'"),
    ({}, [(np.ones(3), np.ones(3) * 2)], "parity lost: output0 5.00e-01"),
    ({}, [(np.ones(3), np.ones(4))], r"another result than the model: output0: shape \(3,\), reference \(4,\)"),
    ({"versions": {}, "step": "convert", "error": "x"}, (), r'needs x2paddle: pip install "ppdet-ext\[x2paddle\]"'),
])
def test_failures_are_one_line_and_write_nothing(tmp_path, model, stand_in, report, outputs, message):
    stand_in(report, outputs)
    with pytest.raises(UserError, match=message) as error:
        convert_model.convert(model, tmp_path / "out")
    assert "\n" not in str(error.value) and [path.name for path in tmp_path.iterdir()] == ["net.pt"]


def test_other_shapes_are_told_not_raised(tmp_path, model, stand_in):
    stand_in({}, [(np.ones(3), np.ones(3)), (np.ones(3), np.ones(3) * 2), {"step": "run", "error": "no"}])
    outcome = convert_model.convert(model, tmp_path / "out", [(1, 3, 8, 8), (2, 3, 8, 8), (1, 3, 9, 9)])
    assert outcome.others == {"2x3x8x8": 0.5, "1x3x9x9": "fails at 'run': no"}


def test_no_reference_is_said(tmp_path, model, stand_in):
    stand_in({}, [(np.ones(3),)])
    outcome = convert_model.convert(model, tmp_path / "out")
    assert outcome.rows is None and "NOT COMPARED" in convert_model.summary(outcome, "out")


@pytest.mark.parametrize("args, message", [
    (["x.onnx", "-o", "out"], "no model file 'x.onnx'"),
    (["x.pb", "-o", "out"], "takes .onnx"),
])
def test_wrong_files(tmp_path, tool, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        convert(tool, monkeypatch, *args)


def test_an_existing_folder_is_kept(tmp_path, model):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="out' exists"):
        convert_model.convert(model, tmp_path / "out")


def test_a_process_that_dies(tmp_path, model):
    with pytest.raises(UserError, match="process ended with code 1"):
        convert_model.convert(model, tmp_path / "out", python="/bin/false")
    with pytest.raises(UserError, match="X2PADDLE_PYTHON: '/nowhere/python' cannot be run"):
        convert_model.convert(model, tmp_path / "out", python="/nowhere/python")


def test_the_worker_names_the_step_and_the_swallowed_reason():
    def gen_model():
        try:
            raise AssertionError("only dilations = 0")
        except AssertionError:
            raise Exception("convert failed node") from None
    try:
        gen_model()
    except Exception as error:
        found = worker.failure(error)
    assert found == {"step": "export", "error": "Exception: convert failed node <- AssertionError: only dilations = 0"}


def test_the_worker_finds_the_operators_that_are_lacking(tmp_path, monkeypatch):
    def refuse(_job):
        print("Converting ...\n========= 2 OPs are not supported yet ===========\naten::einsum\naten::ceil")
        raise Exception("Model is not supported yet.")
    monkeypatch.setitem(worker.KINDS, "torch", (refuse, None))
    with pytest.raises(worker.Stopped, match="^2 OPs are not supported yet aten::einsum aten::ceil$"):
        worker.convert({"kind": "torch", "output": str(tmp_path)})


@pytest.mark.parametrize("said, message", [("only caffe", "only caffe"), ("", r"exit\(\) without a word")])
def test_the_worker_outlives_exit(tmp_path, monkeypatch, said, message):
    def leave(_job):
        print(said)
        raise SystemExit(0)
    monkeypatch.setitem(worker.KINDS, "torch", (leave, None))
    with pytest.raises(worker.Stopped, match=message):
        worker.convert({"kind": "torch", "output": str(tmp_path)})


# ---- the texts of an ONNX file, which x2paddle writes into Python

EVIL = """x'); __import__('os').system('touch ran'); ('"""


@pytest.fixture
def onnx_file(tmp_path):
    """``onnx_file(change)``: path of a small ONNX file that ``change(model)`` has changed."""
    onnx = pytest.importorskip("onnx", reason='pip install "ppdet-ext[onnx]"')
    from onnx import helper

    def value(name):
        return helper.make_tensor_value_info(name, 1, ["N/2", 3])

    def write(change=lambda model: None):
        body = helper.make_graph([helper.make_node("Add", ["in/x", "w:0"], [EVIL], name="a.b")], "g'", [],
                                 [value(EVIL)])
        nodes = [helper.make_node("Relu", ["image"], ["in/x"], name="relu\n1"),
                 helper.make_node("Add", ["in/x", "w:0"], ["in_x"], name="add"),
                 helper.make_node("If", ["in_x"], [EVIL + "2"], then_branch=body, else_branch=body)]
        weights = [helper.make_tensor("w:0", 1, [1, 3], [1.0, 2.0, 3.0])]
        model = helper.make_model(helper.make_graph(nodes, EVIL, [value("image")], [value(EVIL + "2")], weights),
                                  producer_name=EVIL, doc_string=EVIL)
        change(model)
        path = tmp_path / "model" / "net.onnx"
        path.parent.mkdir(exist_ok=True)
        onnx.save(model, path)
        return path
    return write


def texts(message):
    """Every text of a protobuf message."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from texts(part)
        elif field.name != "raw_data":
            for text in [value] if isinstance(value, (str, bytes, int, float)) else value:
                if isinstance(text, (str, bytes)):
                    yield text if isinstance(text, str) else text.decode()


def test_x2paddle_sees_plain_names(onnx_file):
    model = worker.read_onnx(onnx_file())
    assert all(text.replace(".", "").replace("_", "").isalnum() for text in texts(model) if text), list(texts(model))
    relu, add, choice = model.graph.node
    # what was one name is one name, in bodies too; what was two is two
    assert relu.input == ["image"] and list(add.input) == ["in_x", "w_0"] == list(choice.attribute[0].g.node[0].input)
    assert relu.output[0] == "in_x" != add.output[0] and choice.input == add.output
    assert model.graph.output[0].name == choice.output[0] and model.graph.initializer[0].name == "w_0"


@pytest.mark.parametrize("change", [
    lambda graph: graph.node[0].attribute.add(name="mode", type=3, s=EVIL.encode()),
    lambda graph: graph.node[0].attribute.add(name="modes", type=8, strings=[b"a", EVIL.encode()]),
    lambda graph: graph.node[0].attribute.add(name=EVIL, type=2),
    lambda graph: setattr(graph.node[0], "op_type", EVIL),
    lambda graph: setattr(graph.node[0], "domain", EVIL),
    lambda graph: graph.initializer.add(name="t", data_type=8, dims=[1], string_data=[EVIL.encode()]),
])
def test_texts_that_are_no_words_are_refused(onnx_file, change):
    with pytest.raises(worker.Refused, match="could be run as Python"):
        worker.read_onnx(onnx_file(lambda model: change(model.graph)))


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/passwd", "link.bin", "none.bin"])
def test_weights_outside_the_folder_are_refused(onnx_file, tmp_path, place):
    def change(model):
        tensor = model.graph.initializer.add(name="far", data_type=1, dims=[1], data_location=1)
        tensor.external_data.add(key="location", value="beside.bin")

    path = onnx_file(change)
    for file in ("secret.bin", "model/beside.bin"):
        (tmp_path / file).write_bytes(b"\0\0\x80?")
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert worker.read_onnx(path).graph.initializer[1].raw_data == b"\0\0\x80?"
    path.write_bytes(_with_place(path, place))
    with pytest.raises(worker.Refused, match="no file in its folder"):
        worker.read_onnx(path)


def _with_place(path, place):
    import onnx

    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[1].external_data[0].value = place
    return model.SerializeToString()


def test_a_refused_file_is_one_line(tmp_path, model, stand_in):
    stand_in({"refused": "the text 'x' could be run"})
    with pytest.raises(UserError, match="net.pt' is not converted: the text 'x' could be run"):
        convert_model.convert(model, tmp_path / "out")


@pytest.mark.parametrize("shape", [(1, 3, 0, 8), (-1, 3, 8, 8), (1 << 20, 3, 1 << 10, 1 << 10)])
def test_shapes_that_are_none(tmp_path, model, shape):
    with pytest.raises(UserError, match="--input-shape: .* must be numbers from 1"):
        convert_model.convert(model, tmp_path / "out", [shape])
