# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""bfloat16 and INT8 on a CPU: where a detector is cut, what either part gives, what is refused."""
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from support import known_network
from support.detections import of_predictor, spread_heads
from support.detector_cases import load_on_cpu
from support.paths import REPO
from support.tiny import TINY

from ppdet_ext.deploy import DeployError, Predictor, compare_all, media, paddle_engine, preprocess, quantize, session
from ppdet_ext.deploy.cut import CHOICE, OTHER, SEVERAL, SHAPE, bottleneck
from ppdet_ext.engine import export, to_onnx
from ppdet_ext.engine.trainer import Trainer

openvino = pytest.importorskip("openvino", reason='pip install "ppdet-ext[openvino]"')
pytest.importorskip("paddle2onnx", reason='pip install "ppdet-ext[onnx]"')

from ppdet_ext.deploy import openvino_cut, openvino_engine  # noqa: E402  they need openvino

FLAGS = ("avx512_bf16", "amx_bf16")
NNCF_PYTHON = "PPDET_EXT_NNCF_PYTHON"
# rounding of backbone and encoder moves a score by less than SCORE, a corner by less than BOX of the picture's side
SCORE, BOX = 0.02, 0.01
QUERIES = 8 * 8 + 4 * 4 + 2 * 2  # all tokens of the detector below


def processor_has_bf16():
    try:
        with open("/proc/cpuinfo") as file:
            return any(flag in file.read() for flag in FLAGS)
    except OSError:
        return False


needs_bf16 = pytest.mark.skipif(not processor_has_bf16(), reason=f"this processor has no {' or '.join(FLAGS)}")


# ---- where the cut is

def test_the_cut_is_the_last_bottleneck_before_the_choice():
    stem = [("stem", OTHER, ["image"]), ("a", OTHER, ["stem"]), ("b", OTHER, ["stem"]), ("size", SHAPE, ["image"])]
    tokens = [("tokens", OTHER, ["a", "b", "b"]), ("scores", OTHER, ["tokens", "size"])]
    rest = [("top", CHOICE, ["scores"]), ("rows", OTHER, ["tokens", "top"]), ("end", OTHER, ["rows"])]
    assert bottleneck(stem + tokens + rest, "image") == "tokens"
    # the same without a choice, and with something of the picture that goes past the tokens
    assert bottleneck(stem + tokens, "image") is None
    assert bottleneck(stem + tokens + [("top", CHOICE, ["scores"]), ("end", OTHER, ["tokens", "top", "a"])],
                      "image") == "stem"
    # several tensors are no single one
    several = [("tokens", SEVERAL, ["a", "b"]), *tokens[1:]]
    assert bottleneck(stem + several + rest, "image") == "stem"
    assert bottleneck([("top", CHOICE, ["image"])], "image") is None


# ---- a detector

@pytest.fixture(scope="module")
def detector(tmp_path_factory, small_digits):
    """A small detector, exported with ONNX. All tokens become queries and all queries are kept, so that rounding cannot
    choose others; with 8 heads it looks rows up among 672, more than bfloat16 can tell apart."""
    folder = tmp_path_factory.mktemp("half")
    paddle.seed(0)
    (folder / "tiny.yml").write_text(TINY.format(configs=REPO / "configs", data=small_digits, output=folder))
    trainer = Trainer(load_on_cpu(folder / "tiny.yml", f"RTDETRTransformer.num_queries={QUERIES}",
                                  "RTDETRTransformer.nhead=8", "RTDETRTransformer.learnt_init_query=False",
                                  "RTDETRTransformer.num_decoder_layers=2",
                                  "RTDETRTransformer.query_pos_head_inv_sig=True",
                                  f"DETRPostProcess.num_top_queries={QUERIES * 10}"), "test")
    spread_heads(trainer.model)
    return export.export_model(trainer, folder / "inference", onnx=True)


@pytest.fixture(scope="module")
def pictures(small_digits):
    return sorted(str(path) for path in (small_digits / "val").iterdir())[:2]


def detections(folder, pictures, **options):
    return of_predictor(Predictor(folder, cpu_threads=1, batch_size=2, **options).predict(pictures))


@pytest.fixture(scope="module")
def wanted(detector, pictures):
    return detections(detector, pictures)


def distance(wanted, found, side=96):
    """The largest distance of a detection to its partner, the nearest of its class: score, share of the side."""
    distances = []
    for one, two in zip(wanted, found):
        score = np.abs(one[:, None, 1] - two[None, :, 1])
        box = np.abs(one[:, None, 2:] - two[None, :, 2:]).max(-1) / side
        together = np.maximum(score / SCORE, box / BOX)
        together[one[:, None, 0] != two[None, :, 0]] = np.inf
        partner = together.argmin(1)
        rows = np.arange(len(one))
        distances.append([score[rows, partner], box[rows, partner]])
    return np.concatenate(distances, axis=1).max(1)


@pytest.mark.parametrize("engine", [pytest.param("paddle", marks=pytest.mark.slow), "openvino"])
def test_the_parts_in_float32_are_the_whole(detector, pictures, wanted, engine, monkeypatch):
    """The cut itself changes nothing."""
    if engine == "paddle":
        monkeypatch.setattr(paddle_engine.paddle.base.core, "supports_bfloat16_fast_performance", lambda: True)
        monkeypatch.setattr(paddle_engine, "_enable_bfloat16", lambda config: None)
    else:
        monkeypatch.setattr(openvino_engine, "HALF", "f32")
        monkeypatch.setattr(openvino_engine, "_has_bf16", lambda core, device: True)
    for count in (2, 1):
        found = detections(detector, pictures[:count], engine=engine, precision="bf16")
        assert compare_all(wanted[:count], found).within(1e-4)


@needs_bf16
@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"enable_mkldnn": True, "enable_mkldnn_bfloat16": True},
                                     {"engine": "openvino", "precision": "bf16"}])
def test_bf16_finds_the_same(detector, pictures, wanted, options):
    assert len(wanted[0]) == QUERIES * 10 and np.ptp(wanted[0][:, 1]) > 5 * SCORE
    assert np.ptp(wanted[0][:, 2:], axis=0).min() > 20 * BOX * 96
    found = detections(detector, pictures, **options)
    score, box = distance(wanted, found)
    print(options, f"scores {score:.4f}, boxes {box:.4f} of the side")
    assert 0 < score <= SCORE and 0 < box <= BOX


@needs_bf16
@pytest.mark.parametrize("engine", ["paddle", "openvino"])
def test_eval_and_deploy_take_the_precision(detector, tool, monkeypatch, pictures, capsys, engine):
    arguments = ["--model_dir", str(detector), "--engine", engine, "--precision", "bf16"]
    assert tool("eval").parse_args(["-c", "c.yml", *arguments]).precision == "bf16"
    monkeypatch.setattr(sys, "argv", ["x", *arguments, "--image_file", pictures[0], "--save_images", "False"])
    session.run(tool("deploy_infer").parse_args())
    assert f"by {engine}" in capsys.readouterr().out


# ---- what is refused

@pytest.mark.parametrize("options, words", [
    ({"precision": "fp8"}, "--precision: 'fp8' is unknown; it can be fp32, bf16"),
    ({"engine": "onnxruntime", "precision": "bf16"}, "--precision is for --engine paddle or openvino"),
    ({"engine": "openvino", "enable_mkldnn_bfloat16": True}, "--enable_mkldnn_bfloat16 is for --engine paddle;"),
    ({"precision": "bf16", "device": "gpu"}, "bf16 is for --device CPU here, not GPU"),
])
def test_wrong_options_are_one_line(detector, options, words):
    with pytest.raises(DeployError, match=words):
        Predictor(detector, **options)


def set_processor(monkeypatch, has_bf16):
    """What the engines find out about the processor."""
    monkeypatch.setattr(paddle_engine.paddle.base.core, "supports_bfloat16_fast_performance", lambda: has_bf16)
    monkeypatch.setattr(openvino_engine, "_has_bf16", lambda core, device: has_bf16)


def test_a_processor_without_bf16_is_one_line(detector, monkeypatch):
    set_processor(monkeypatch, has_bf16=False)
    for engine in ("paddle", "openvino"):
        with pytest.raises(DeployError, match="^bf16: this processor has no bfloat16; use --precision fp32"):
            Predictor(detector, engine=engine, precision="bf16")


@pytest.fixture(scope="module")
def no_detector(tmp_path_factory):
    folder = known_network.save(tmp_path_factory.mktemp("known") / "known")
    to_onnx.convert(folder)
    return folder


def test_what_has_no_decoder_is_not_cut(no_detector, monkeypatch):
    set_processor(monkeypatch, has_bf16=True)
    for engine in ("paddle", "openvino"):
        with pytest.raises(DeployError, match="^bf16: this model has no decoder that could stay in float32"):
            Predictor(no_detector, engine=engine, precision="bf16")
        assert paddle.in_dynamic_mode()


def test_an_export_of_paddle_2_is_refused(no_detector, tmp_path):
    for name in ("infer_cfg.yml", "model.pdiparams"):
        shutil.copy(no_detector / name, tmp_path)
    shutil.copy(no_detector / "model.json", tmp_path / "model.pdmodel")
    with pytest.raises(DeployError, match="cannot be cut .*; export it with Paddle 3, or with --onnx for"):
        Predictor(tmp_path, engine="paddle", precision="bf16")


# ---- INT8

def test_two_parts_make_one_again(detector, pictures, wanted, tmp_path):
    whole = openvino_cut.join(*openvino_cut.cut(openvino.Core().read_model(detector / "model.onnx")))
    quantize._write(whole, detector / "infer_cfg.yml", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["infer_cfg.yml", "model.bin", "model.xml"]
    found = detections(tmp_path / "model.xml", pictures)
    assert compare_all(wanted, found).within(1e-4)


def run_quantize(python, *arguments):
    return subprocess.run([python, str(REPO / "tools" / "quantize_model.py"), *map(str, arguments)],
                          capture_output=True, text=True, timeout=300)


def test_without_nncf_the_commands_are_named(detector, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, "NEEDED", ("openvino", "no_such_package"))
    with pytest.raises(DeployError, match="needs no_such_package, in an environment of its own: python -m venv"):
        quantize.quantize(detector, Path(pictures[0]).parent, tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


def nncf_python():
    return os.environ.get(NNCF_PYTHON) or (sys.executable if importlib.util.find_spec("nncf") else None)


@pytest.mark.slow
@pytest.mark.skipif(nncf_python() is None, reason=f"no nncf here, and {NNCF_PYTHON} names no Python that has it")
def test_int8_is_near(detector, pictures, tmp_path):
    folder = Path(pictures[0]).parent
    done = run_quantize(nncf_python(), "--model_dir", detector, "--image_dir", folder,
                        "--output_dir", tmp_path / "int8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in (tmp_path / "int8").iterdir()) == ["infer_cfg.yml", "model.bin", "model.xml"]
    predictor = Predictor(tmp_path / "int8" / "model.xml", cpu_threads=1)
    kinds = {str(node.get_rt_info()["runtimePrecision"].value) for node in
             predictor._runtime._compiled[0].get_runtime_model().get_ordered_ops()}
    assert {"i8", "f32"} <= kinds
    assert [len(boxes) for boxes in of_predictor(predictor.predict(pictures))] == [QUERIES * 10] * 2
    image = np.stack([preprocess.apply(predictor.model.steps, media.read_image(path))[0] for path in pictures])
    one, two = (tokens_of(path, image) for path in (detector / "model.onnx", tmp_path / "int8" / "model.xml"))
    likeness = (one * two).sum() / np.sqrt((one ** 2).sum() * (two ** 2).sum())
    print(f"int8 tokens: cosine {likeness:.4f}")
    # random weights leave little between the largest value and rounding; what a trained network loses is in the docs
    assert 0.5 < likeness < 0.99999


def tokens_of(path, image):
    """What the decoder of a model gets of a batch."""
    picture, _ = openvino_cut.cut(openvino.Core().read_model(path))
    compiled = openvino.Core().compile_model(picture, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled({"image": image})[0]
