# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One exported model in every engine: same command, same detections; and the export to ONNX with its verification."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from support import known_network
from support.detections import of_bbox_json, of_predictor, spread_heads
from support.detector_cases import load_on_cpu
from support.known_network import SETTINGS, SHARES, SIDE, Known, expected
from support.paths import REPO

from ppdet_ext import cli
from ppdet_ext.deploy import ENGINES, DeployError, Predictor, compare_all, engines, media, session
from ppdet_ext.engine import export, to_onnx, verify_export
from ppdet_ext.engine.trainer import Trainer
from ppdet_ext.errors import UserError

for package in ("paddle2onnx", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason='pip install "ppdet-ext[onnx,openvino]"')

TOOL = REPO / "tools" / "deploy_infer.py"
R18 = """\
_BASE_: [{configs}/rtdetr/rtdetr_r18vd_6x_coco.yml, {configs}/datasets/digits_detection.yml]
TestDataset: {{dataset_dir: {data}}}
use_gpu: false
eval_size: [320, 320]
TestReader:
  inputs_def: {{image_shape: [3, 320, 320]}}
  sample_transforms:
  - Decode: {{}}
  - Resize: {{target_size: [320, 320], keep_ratio: false, interp: 2}}
  - NormalizeImage: {{mean: [0., 0., 0.], std: [1., 1., 1.], norm_type: none}}
  - Permute: {{}}
"""


EVAL = """\
_BASE_: [{configs}/datasets/digits_detection.yml, {configs}/_base_/rtdetr.yml, {configs}/_base_/reader_640.yml,
         {configs}/_base_/runtime.yml]
num_classes: 3
EvalDataset: {{dataset_dir: {folder}, image_dir: {pictures}, anno_path: truth.json}}
"""


@pytest.fixture(scope="module")
def known_model(tmp_path_factory):
    """The known network's folder with model.json and model.onnx."""
    folder = known_network.save(tmp_path_factory.mktemp("model") / "known")
    to_onnx.convert(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return known_network.paint(tmp_path_factory.mktemp("pictures"))


# ---- engines

@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_known_detections(known_model, pictures, engine):
    predictor = Predictor(known_model, engine=engine, batch_size=2, cpu_threads=1)
    paths = [pictures / f"{name}.png" for name in "abc"]
    first = of_predictor(predictor.predict(paths))
    second = of_predictor(predictor.predict(paths[::-1]))[::-1]
    for path, boxes, again in zip(paths, first, second):
        # what a run gave stays when the next one overwrites the engine's memory
        np.testing.assert_allclose(boxes, expected(path), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(again, boxes, rtol=1e-6)


class Fraction(known_network.Known):
    def score(self, mean):
        """A value is needed again after its floor: Paddle's in-place pass takes the floor in its place (3.3.1)."""
        tripled = mean * 3.0
        return tripled - paddle.floor(tripled)


def test_onednn_keeps_what_is_needed_again(pictures, tmp_path):
    folder = known_network.save(tmp_path / "fraction", network=Fraction)
    path = pictures / "b.png"
    found, = Predictor(folder, enable_mkldnn=True).predict([path])
    wanted = known_network.expected(path)[:, 1] * 3
    np.testing.assert_allclose(np.sort(found["boxes"][:, 1]), np.sort(wanted - np.floor(wanted)), atol=1e-5)


def test_the_engine_is_the_first_that_reads_what_is_there(known_model, tmp_path):
    assert Predictor(known_model).engine == "paddle"
    assert Predictor(known_model / "model.onnx").engine == "onnxruntime"
    assert Predictor(known_model / "model.json").engine == "paddle"
    for name in ("infer_cfg.yml", "model.onnx"):
        shutil.copy(known_model / name, tmp_path)
    assert Predictor(tmp_path).engine == "onnxruntime"
    with pytest.raises(DeployError, match="model.json .or model.pdmodel., model.pdiparams missing"):
        Predictor(tmp_path, engine="paddle")


def test_openvino_reads_its_own_files(known_model, pictures, tmp_path):
    import openvino

    openvino.save_model(openvino.Core().read_model(known_model / "model.onnx"), tmp_path / "model.xml", False)
    shutil.copy(known_model / "infer_cfg.yml", tmp_path)
    predictor = Predictor(tmp_path / "model.xml")
    assert predictor.engine == "openvino"
    found, = of_predictor(predictor.predict([pictures / "a.png"]))
    np.testing.assert_allclose(found, expected(pictures / "a.png"), rtol=1e-5, atol=1e-5)
    (tmp_path / "model.bin").unlink()
    with pytest.raises(DeployError, match="model.bin missing"):
        Predictor(tmp_path / "model.xml")


def test_threads_and_float32_reach_the_engines(known_model):
    session = Predictor(known_model, engine="onnxruntime", cpu_threads=3)._runtime._session
    assert session.get_session_options().intra_op_num_threads == 3
    compiled = Predictor(known_model, engine="openvino", cpu_threads=1)._runtime._compiled[0]
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


@pytest.mark.parametrize("shared", [False, True])
def test_threads_of_a_server_sleep_while_they_wait(known_model, shared):
    session = Predictor(known_model, engine="onnxruntime", shared_cores=shared)._runtime._session
    name = "session.intra_op.allow_spinning"
    settings = session.get_session_options()
    assert settings.get_session_config_entry(name) == "0" if shared else not has_entry(settings, name)


def has_entry(settings, name):
    try:
        return bool(settings.get_session_config_entry(name))
    except RuntimeError:  # as ONNX Runtime says that it was not set
        return False


@pytest.mark.parametrize("options, words", [
    ({"engine": "tensorflow"}, "'tensorflow' is unknown; it can be paddle, onnxruntime, openvino"),
    ({"engine": "onnxruntime", "run_mode": "trt_fp16"}, "--run_mode is for --engine paddle"),
    ({"engine": "openvino", "enable_mkldnn": True}, "--enable_mkldnn is for --engine paddle"),
    ({"engine": "onnxruntime", "device": "GPU"}, "--device GPU: this onnxruntime finds none here"),
    ({"engine": "openvino", "device": "xpu"}, "--device XPU: this openvino finds none here"),
    ({"engine": "openvino", "device": "tpu"}, "it can be cpu, gpu"),
    ({"engine": "onnxruntime", "cpu_threads": 0}, "--cpu_threads must be at least 1"),
    ({"engine": "openvino", "batch_size": 0}, "--batch_size must be at least 1"),
])
def test_what_an_engine_cannot_do_is_refused(known_model, options, words):
    with pytest.raises(DeployError, match=words):
        Predictor(known_model, **options)


def test_an_engine_that_is_not_there_or_broken_is_named(known_model, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeployError, match="--engine openvino needs the package openvino: pip install openvino"):
        Predictor(known_model, engine="openvino")
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('numpy.core.multiarray failed to import')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("onnxruntime", f"{engines.__package__}.onnxruntime_engine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(DeployError, match="onnxruntime cannot be imported: numpy.core"):
        Predictor(known_model, engine="onnxruntime")


def test_onnxruntime_that_would_go_on_without_the_gpu_is_stopped(known_model, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(DeployError):
        Predictor(known_model, engine="onnxruntime", device="gpu")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_damaged_file_is_one_line(known_model, tmp_path, engine):
    shutil.copy(known_model / "infer_cfg.yml", tmp_path)
    (tmp_path / "model.onnx").write_bytes((known_model / "model.onnx").read_bytes()[:500])
    with pytest.raises(DeployError, match="cannot run '.*model.onnx': it is no .onnx program, or a damaged") as found:
        Predictor(tmp_path, engine=engine)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("what, engine, words", [
    ("model.onnx", "paddle", "this --engine does not read '.*model.onnx'; it reads a folder, or .json, .pdmodel"),
    ("model.json", "openvino", "or .onnx, .xml"),
    ("none.onnx", None, "there is no '.*none.onnx'"),
])
def test_a_file_that_the_engine_does_not_read_is_named(known_model, what, engine, words):
    with pytest.raises(DeployError, match=words):
        Predictor(known_model / what, engine=engine)


# ---- the tool: same command, same output

def run_tool(blocked, *arguments):
    """tools/deploy_infer.py in a process that cannot import the packages ``blocked``."""
    code = (f"import sys, runpy; sys.modules.update(dict.fromkeys({blocked})); sys.argv = sys.argv[1:]; "
            "runpy.run_path(sys.argv[0], run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", code, str(TOOL), *map(str, arguments)], capture_output=True, text=True,
                          timeout=120)
    # one of the pictures is broken
    assert done.returncode == session.SOME_FAILED, done.stdout + done.stderr
    return done.stdout


def test_same_command_same_output(known_model, pictures, tmp_path):
    """Each engine alone: what the others need cannot be imported, Paddle least of all."""
    printed, boxes = {}, {}
    for engine, runtime in ENGINES.items():
        others = [other.package for other in ENGINES.values() if other is not runtime]
        out = run_tool(["ppdet", "ppdet_ext", "torch", "skimage", *others], "--model_dir", known_model,
                       "--engine", engine, "--image_dir", pictures, "--output_dir", tmp_path / engine,
                       "--save_results", "--cpu_threads", 1)
        printed[engine] = [line for line in out.splitlines() if line.startswith(("class_id", "skipped", str(pictures)))]
        boxes[engine] = of_bbox_json(tmp_path / engine / "bbox.json")
        assert sorted(path.name for path in (tmp_path / engine).iterdir()) == ["a.png", "b.png", "bbox.json", "c.png"]
    assert len(printed["paddle"]) == 8 and printed["paddle"] == printed["onnxruntime"] == printed["openvino"]
    for engine in ("onnxruntime", "openvino"):
        assert compare_all(list(boxes["paddle"].values()), list(boxes[engine].values())).within(1e-4)


def test_both_tools_have_the_engine(tool, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--model_dir", "m", "--engine", "openvino"])
    assert tool("deploy_infer").parse_args().engine == "openvino"
    assert tool("eval").parse_args(["-c", "c.yml", "--model_dir", "m"]).engine is None


# ---- the detector: export, engines, AP

@pytest.fixture
def exported(small_digits, tmp_path):
    """The folder of the exported R18 detector at 320x320."""
    path = tmp_path / "rtdetr_r18vd.yml"
    path.write_text(R18.format(configs=REPO / "configs", data=small_digits))
    trainer = Trainer(load_on_cpu(path), "test")
    spread_heads(trainer.model)
    return export.export_model(trainer, tmp_path, onnx=True)


def test_every_engine_gives_the_same_detections(exported, small_digits):
    folder = exported
    assert sorted(path.name for path in folder.iterdir()) == [
        "infer_cfg.yml", "model.json", "model.onnx", "model.pdiparams"]
    images = sorted(str(path) for path in (small_digits / "val").iterdir())
    wanted = of_predictor(Predictor(folder, batch_size=4).predict(images))
    assert len(wanted[0]) == 300 and np.ptp(wanted[0][:, 1]) > 0.05

    for options in ({"enable_mkldnn": True}, {"engine": "onnxruntime"}, {"engine": "openvino"}):
        # a batch of three, then one of one
        difference = compare_all(wanted, of_predictor(Predictor(folder, batch_size=3, **options).predict(images)))
        print(options, difference)
        assert difference.within(1e-3)


# where the truth of each picture lies against the known network's box, as a share of its width
SHIFTS = {"a": 0.0, "b": 0.12, "c": 0.0}


@pytest.fixture
def eval_config(pictures, tmp_path):
    """A config whose evaluation set is a.png, b.png and c.png, with one object each."""
    images, truths = [], []
    for number, (name, shift) in enumerate(SHIFTS.items()):
        label, _, x1, y1, x2, y2 = map(float, expected(pictures / f"{name}.png")[number])
        height, width = media.read_image(pictures / f"{name}.png").shape[:2]
        images.append({"id": number, "file_name": f"{name}.png", "height": height, "width": width})
        box = [x1 + shift * (x2 - x1), y1, x2 - x1, y2 - y1]
        truths.append({"id": number + 1, "image_id": number, "category_id": int(label), "bbox": box, "iscrowd": 0,
                       "area": box[2] * box[3]})
    categories = [{"id": number, "name": name} for number, name in enumerate(SETTINGS["label_list"])]
    (tmp_path / "truth.json").write_text(json.dumps(
        {"images": images, "annotations": truths, "categories": categories}))
    (tmp_path / "eval.yml").write_text(EVAL.format(configs=REPO / "configs", pictures=pictures, folder=tmp_path))
    return tmp_path / "eval.yml"


@pytest.mark.parametrize("engine, form", [("paddle", ""), ("paddle", "model.json"), ("onnxruntime", "model.onnx"),
                                          ("onnxruntime", ""), ("openvino", "model.onnx"), (None, "model.onnx")])
def test_eval_scores_every_form_by_every_engine(eval_config, known_model, tool, tmp_path, engine, form):
    arguments = ["-c", str(eval_config), "--model_dir", str(known_model / form), "--output_eval", str(tmp_path / "out"),
                 "--device", "cpu", "--batch_size", "2", *(["--engine", engine] if engine else [])]
    found = tool("eval").main(arguments)
    # b.png's box overlaps its truth by 0.88 / 1.12 = 0.79: right at 6 of the 10 thresholds
    assert found["AP"] == pytest.approx((1 + 0.6 + 1) / 3, abs=1e-3) and found["AP50"] == pytest.approx(1, abs=1e-3)
    assert (tmp_path / "out" / "bbox.json").is_file()


# ---- verification at export

@pytest.fixture
def known_trainer(tiny_config):
    return SimpleNamespace(cfg=load_on_cpu(tiny_config), model=Known(), checkpoint=None)


def change(path):
    """The exported box of the known network, one per cent further: the numbers are found in the file and replaced."""
    content = path.read_bytes()
    assert content.count(SHARES.tobytes()) == 1
    path.write_bytes(content.replace(SHARES.tobytes(), (SHARES * np.float32(1.01)).tobytes()))


def changing(function, name):
    """``function``, and then ``change`` the file ``name`` in the folder that it wrote to."""
    def changed(*args, **kwargs):
        function(*args, **kwargs)
        change(next(Path(arg).parent if Path(arg).name == "model" else Path(arg) for arg in args
                    if isinstance(arg, Path)) / name)
    return changed


@pytest.mark.parametrize("module, function, name, what", [
    (export, "_save", "model.pdiparams", "model.json (paddle)"),
    (to_onnx, "convert", "model.onnx", "model.onnx (onnxruntime)")])
def test_a_changed_file_is_refused_and_not_there(known_trainer, tiny_config, tool, monkeypatch, tmp_path, capsys,
                                                 module, function, name, what):
    out = tmp_path / "inference"
    export.export_model(known_trainer, out, onnx=True)
    before = {path.name: path.read_bytes() for path in (out / "tiny").iterdir()}
    assert name in before

    monkeypatch.setattr(module, function, changing(getattr(module, function), name))
    tool_module = tool("export_model")
    monkeypatch.setattr("ppdet_ext.engine.trainer.Trainer", lambda cfg, mode: SimpleNamespace(
        cfg=cfg, model=Known(), checkpoint=None, load_weights=lambda weights: None))
    arguments = ["-c", str(tiny_config), "-o", "weights=none.pdparams", "--output_dir", str(out), "--onnx"]
    with pytest.raises(SystemExit) as left:
        cli.run(lambda: tool_module.main(arguments))
    assert left.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith(f"error: the exported {what} differs from the trained model on a random batch of 2: scores")
    assert "boxes 1.00e-02" in told and "nothing was written" in told
    # the earlier export is whole, and nothing lies beside it
    assert {path.name: path.read_bytes() for path in (out / "tiny").iterdir()} == before
    assert [path.name for path in out.iterdir()] == ["tiny"]


def test_the_photograph_can_be_named_and_an_old_onnx_goes(known_trainer, pictures, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(export.log, "propagate", True)
    caplog.set_level("INFO", "ppdet.engine")
    folder = export.export_model(known_trainer, tmp_path / "inference", onnx=True, picture=pictures / "b.png")
    for what in ("model.json (paddle)", "model.onnx (onnxruntime)"):
        for where in ("a random batch of 2", f"'{pictures / 'b.png'}'"):
            assert f"exported {what} against the trained model on {where}: scores" in caplog.text
    export.export_model(known_trainer, tmp_path / "inference")
    assert not (folder / "model.onnx").exists() and "removed" in caplog.text
    with pytest.raises(UserError, match="broken.jpg"):
        export.export_model(known_trainer, tmp_path / "other", picture=pictures / "broken.jpg")
    assert not list(tmp_path.glob("other/*"))


# ---- the Python that converts

def python_without_packages(folder):
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec "{os.path.realpath(sys.executable)}" -S "$@"\n')
    path.chmod(0o755)
    return path


def test_another_python_converts(known_model, tmp_path, monkeypatch):
    shutil.copytree(known_model, tmp_path / "known", ignore=shutil.ignore_patterns("*.onnx"))
    monkeypatch.setenv(to_onnx.VARIABLE, str(python_without_packages(tmp_path)))
    with pytest.raises(UserError, match="No module named 'paddle2onnx'; run: pip install .*paddle2onnx==2.1.0"):
        to_onnx.convert(tmp_path / "known")
    monkeypatch.setenv(to_onnx.VARIABLE, sys.executable)
    monkeypatch.setitem(sys.modules, "paddle2onnx", None)
    assert to_onnx.require() == "onnxruntime"
    to_onnx.convert(tmp_path / "known")
    assert (tmp_path / "known" / "model.onnx").read_bytes() == (known_model / "model.onnx").read_bytes()


def test_what_onnx_needs_is_said_before_anything_is_exported(known_trainer, tmp_path, monkeypatch):
    monkeypatch.delenv(to_onnx.VARIABLE, raising=False)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "paddle2onnx", None)
        with pytest.raises(UserError) as found:
            export.export_model(known_trainer, tmp_path / "inference", onnx=True)
    assert str(found.value).startswith("--onnx needs paddle2onnx; run: pip install ")
    assert "\n" not in str(found.value) and "python -m venv .venv-onnx" in str(found.value)
    with monkeypatch.context() as patch:
        patch.setattr(to_onnx.paddle, "__version__", "2.6.2")
        with pytest.raises(UserError, match="it needs Paddle 3, in an environment of its"):
            to_onnx.require()
    with monkeypatch.context() as patch:
        patch.setenv(to_onnx.VARIABLE, str(tmp_path / "none"))
        with pytest.raises(UserError, match="is no program that can be run"):
            to_onnx.require()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        patch.setitem(sys.modules, "openvino", None)
        with pytest.raises(UserError, match="that runs it: pip install onnxruntime"):
            to_onnx.require()
    assert not (tmp_path / "inference").exists()


def test_what_paddle2onnx_cannot_convert_is_one_line(known_model, tmp_path):
    folder = tmp_path / "known"
    shutil.copytree(known_model, folder, ignore=shutil.ignore_patterns("*.onnx"))
    (folder / "model.json").write_text("{}")
    with pytest.raises(UserError, match="the model cannot be converted to ONNX: ") as found:
        to_onnx.convert(folder)
    assert "\n" not in str(found.value) and not (folder / "model.onnx").exists()


def test_the_verification_runs_onnx_on_any_engine(known_model):
    given = verify_export.cases(Known(), SETTINGS["Preprocess"], [SIDE, SIDE])
    for engine in ENGINES:
        verify_export.verify(known_model, engine, given, boxes=True)
