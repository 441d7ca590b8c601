# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Exported folders from strangers: a program that could touch files is refused before an engine reads it."""
import json
import os
import shutil
import signal
import subprocess
import sys

import paddle
import pytest
import yaml
from support import known_network
from support.known_network import SETTINGS
from support.paths import REPO

from ppdet_ext.deploy import DeployError, ExportedModel, Predictor, infer_settings, program_check, protobuf
from ppdet_ext.engine import to_onnx

onnx = pytest.importorskip("onnx", reason='pip install "ppdet-ext[onnx]"')
for package in ("paddle2onnx", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason='pip install "ppdet-ext[onnx,openvino]"')


@pytest.fixture(scope="module")
def known_model(tmp_path_factory):
    folder = known_network.save(tmp_path_factory.mktemp("model") / "known")
    to_onnx.convert(folder)
    return folder


@pytest.fixture
def folder(known_model, tmp_path):
    """A copy to change."""
    return shutil.copytree(known_model, tmp_path / "known")


def refused(words, path, **options):
    with pytest.raises(DeployError, match=words) as error:
        Predictor(path, **options)
    assert "\n" not in str(error.value) and len(str(error.value)) < 800


# ---- Paddle's programs

def with_name(program, name):
    """The program, its first relu-like operation under another name."""
    whole = json.loads(program.read_text())
    operation = next(op for op in whole["program"]["regions"][0]["blocks"][0]["ops"] if op["#"] == "1.mean")
    operation["#"] = name
    program.write_text(json.dumps(whole))


@pytest.mark.parametrize("name", ["1.save_combine", "1.load_combine_", "1.print", "1.py_func", "0.pylayer",
                                  "1.new_in_4", "3.conv2d", "custom_op.relu", "pd_op.send_v2",
                                  "1.tensorrt_engine", "1.run_program"])
def test_a_json_program_with_another_operation(folder, name):
    with_name(folder / "model.json", name)
    refused(f"holds the operation '{name.split('.')[1] if name[0] in '01p' else name}'.*it was not run", folder)


@pytest.mark.parametrize("text, words", [
    ('{"program": {"ops": [{"#": "1.save", "#": "1.relu"}]}}', "a key stands twice"),
    ("[" * 5000, "no .json program"), ("{", "no .json program"), ("[]", "no 'program'"), ("", "it is empty"),
    ('{"program": "\udcff"}', "no .json program"),
])
def test_a_damaged_json_program(folder, text, words):
    (folder / "model.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(words, folder)


def test_a_json_program_that_is_too_large(folder, monkeypatch):
    os.truncate(folder / "model.json", 3 << 20)
    monkeypatch.setattr(program_check._content.__wrapped__, "__defaults__", (1 << 20,))
    refused("has 3 MB; a program without its weights has less than 1 MB", folder)


@pytest.fixture
def pdmodel(folder):
    """``pdmodel(*operations)``: the folder holds model.pdmodel with those, the last one in a block of its own."""
    framework_pb2 = pytest.importorskip("paddle.base.proto.framework_pb2")

    def write(*names):
        program = framework_pb2.ProgramDesc()
        for index, name in enumerate(names):
            if index == 0 or name is names[-1]:
                block = program.blocks.add(idx=len(program.blocks), parent_idx=-1)
            block.ops.add(type=name)
        (folder / "model.json").unlink()
        (folder / "model.pdmodel").write_bytes(program.SerializeToString())
        return folder
    return write


@pytest.mark.parametrize("name", ["save", "load_combine", "py_func", "read_file", "print", "c_allreduce_sum"])
def test_a_protobuf_program_with_another_operation(pdmodel, name):
    refused(f"model.pdmodel' holds the operation '{name}'", pdmodel("feed", "conv2d", name))


def test_a_protobuf_program_of_good_operations_passes(pdmodel):
    program_check.check(pdmodel("feed", "conv2d", "relu_", "elementwise_add", "fetch") / "model.pdmodel")


def test_no_protobuf(folder):
    (folder / "model.pdmodel").write_bytes(b"\x0a\xff\xff\xff\xff\xff")
    refused("no .pdmodel program", folder / "model.pdmodel")


def test_control_flow_passes(tmp_path):
    class Net(paddle.nn.Layer):
        def forward(self, x):
            count = paddle.zeros([1], "int64")
            while count < 3:
                x = x + 1 if x.mean() > 0 else x - 1
                count = count + 1
            return x

    spec = [paddle.static.InputSpec([None, 3])]
    paddle.jit.save(paddle.jit.to_static(Net(), input_spec=spec, full_graph=True), str(tmp_path / "model"))
    program, = [path for path in tmp_path.iterdir() if path.suffix in (".json", ".pdmodel")]
    program_check.check(program)


# ---- ONNX, OpenVINO

def move_weights(program, location):
    """One initializer of the ONNX file lies at ``location``; in a Loop's body as well, where files are found last."""
    model = onnx.load(program)
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=1)
    tensor.external_data.add(key="location", value=location)
    body = onnx.GraphProto(name="body", initializer=[tensor])
    model.graph.node.add(op_type="Loop", attribute=[onnx.AttributeProto(name="body", type=5, g=body)])
    program.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "link.bin", "sub/../../secret.bin", "", ".",
                                      "*/_ORT_MEM_ADDR_/*"])
def test_weights_outside_the_folder(folder, location, engine):
    (folder.parent / "secret.bin").write_bytes(b"1234")
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    move_weights(folder / "model.onnx", location)
    refused("takes weights from .*(not in its folder|no such file)", folder, engine=engine)


def test_weights_beside_the_program_pass(folder):
    (folder / "weights.bin").write_bytes(b"1234")
    move_weights(folder / "model.onnx", "weights.bin")
    program_check.check(folder / "model.onnx")


def test_a_program_of_the_devices_own(folder):
    model = onnx.load(folder / "model.onnx")
    model.graph.node.add(op_type="EPContext", domain="com.microsoft")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    refused("holds the operation 'EPContext'", folder, engine="onnxruntime")


def test_endless_fields_are_refused(monkeypatch):
    monkeypatch.setattr(protobuf, "MAX_FIELDS", 100)
    with pytest.raises(ValueError, match="more than 100 fields"):
        list(protobuf.parts(b"\x08\x01" * 101, "program", program_check.PADDLE))


@pytest.mark.parametrize("text, words", [
    ('<net><layers><layer type="Run" version="extension"/></layers></net>', "operation 'Run' of 'extension'"),
    ('<!DOCTYPE a [<!ENTITY b "c">]><net/>', "document type"), ("<net", "no .xml program"),
])
def test_openvinos_program(folder, text, words):
    (folder / "model.xml").write_text(text)
    (folder / "model.bin").write_bytes(b"")
    refused(words, folder / "model.xml")


# ---- files that are none

@pytest.mark.parametrize("name", ["infer_cfg.yml", "model.json", "model.pdiparams"])
@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_pipe_or_a_folder_in_place_of_a_file(folder, name, kind):
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).mkdir()
    refused(f"{name}.* missing", folder, engine="paddle")


# ---- infer_cfg.yml

def steps(index, **changes):
    given = [dict(step) for step in SETTINGS["Preprocess"]]
    given[index].update(changes)
    return {"Preprocess": given}


@pytest.mark.parametrize("changes, words", [
    (steps(0, target_size=[30000, 30000]), "Resize: target_size must be .*at most [0-9]+ pixels.*not .30000, 30000"),
    (steps(0, target_size=[0, 32]), "target_size"), (steps(0, target_size=[32, 32, 32]), "target_size"),
    (steps(0, target_size="big"), "target_size"), (steps(0, target_size=True), "target_size"),
    (steps(0, interp=99), "interp"), (steps(0, interp=[1, 2]), "interp"), (steps(0, keep_ratio="no"), "keep_ratio"),
    (steps(1, mean=[float("nan")] * 3), "mean must be 1 or 3 numbers, finite, not"),
    (steps(1, std=[1.0, 0.0, 1.0]), "std must be 1 or 3 numbers, finite and not 0"),
    (steps(1, std=[10 ** 400] * 3), "std"), (steps(1, mean=3), "mean"), (steps(1, mean=[0, 0]), "mean"),
    (steps(1, norm_type=[[1]]), "norm_type"), (steps(1, is_scale=2), "is_scale"),
    (steps(1, type=["x"]), "Preprocess must be a list"), (steps(1, type="Permute"), "has no setting 'mean'"),
    ({"Preprocess": [*SETTINGS["Preprocess"], {"type": "Permute"}]}, "Permute once"),
    ({"Preprocess": []}, "these are none"), ({"Preprocess": "x"}, "Preprocess must be a list"),
    ({"Preprocess": [{"type": "Permute"}, {"type": "PadStride", "stride": 10 ** 9}]}, "stride"),
    ({"Preprocess": [{"type": "Pad", "size": [10 ** 9, 1]}, {"type": "Permute"}]}, "Pad: size"),
    ({"label_list": 5}, "label_list must be a list"), ({"label_list": [["a"]]}, "label_list"),
    ({"label_list": ["a\x1b[2J"]}, "label_list"), ({"label_list": [None]}, "label_list"),
    ({"arch": ["x"]}, "arch must be a text"), ({"arch": "a\nerror: forged"}, "arch must be a text"),
    ({"min_subgraph_size": "3"}, "min_subgraph_size must be"), ({"use_dynamic_shape": 1}, "use_dynamic_shape must be"),
])
def test_wrong_settings_are_named(tmp_path, changes, words):
    model = tmp_path / "model.json"
    for path in (model, model.with_suffix(".pdiparams")):
        path.touch()
    (tmp_path / "infer_cfg.yml").write_text(yaml.safe_dump({**SETTINGS, **changes}))
    with pytest.raises(DeployError, match=words) as error:
        ExportedModel.open(tmp_path, model, ("model.json",))
    assert "\n" not in str(error.value) and "infer_cfg.yml" in str(error.value)


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(8))


@pytest.mark.parametrize("text, words", [
    ("arch: a\narch: b\n", "the key 'arch' stands twice"), ("[" * 30 + "]" * 30, "more than 20 levels"),
    ("a: &a [1]\nb: [" + "*a, " * 101 + "]", "or 100 aliases"), ("a: &a {b: 1}\nc: {<<: *a}", "'<<' is not used"),
    (BOMB + "arch: DETR\nPreprocess: *a8\nlabel_list: *a8\n", "label_list must be .* not a list of 9"),
    ("a: 2026-99-99", "not YAML"), ("a: !!python/object/apply:os.system [x]", "not YAML"),
    ("a: " + "9" * 5000, "not YAML"),
    ("a: " + "x" * infer_settings.MAX_BYTES, "more than 1024 KB"), ("- 1", "lacks arch"), ("", "lacks arch"),
])
def test_hostile_yaml(tmp_path, text, words):
    (tmp_path / "infer_cfg.yml").write_text(text)
    with pytest.raises(DeployError, match=words) as error:
        infer_settings.read(tmp_path / "infer_cfg.yml")
    assert "\n" not in str(error.value) and len(str(error.value)) < 800


AFTER_OPENVINO = """
import faulthandler, os, signal, sys
faulthandler.enable()  # Python then hears signals on a stack apart, as under pytest
from pathlib import Path
from ppdet_ext.deploy import engines, exported_model, openvino_engine
folder = Path(sys.argv[1])
model = exported_model.ExportedModel.open(folder, folder / "model.onnx", ["openvino"])
held = [openvino_engine.Engine(model, engines.Options()) for _ in range(3)]
while held:
    held.pop(0)
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no such signals")
def test_signals_are_heard_after_openvino(known_model):
    """OpenVINO sets the thread's stack for signals, and must not leave it one that is gone."""
    done = subprocess.run([sys.executable, "-c", AFTER_OPENVINO, known_model], text=True, capture_output=True,
                          env={**os.environ, "PYTHONPATH": str(REPO)}, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "heard"), done.stderr
