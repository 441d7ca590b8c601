# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""deploy_infer with mutated flags and a mutated infer_cfg.yml: each ends well or in one line, never in a traceback."""
import contextlib
import io
import shutil

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import known_network
from support.known_network import SETTINGS
from support.mutations import HOSTILE, drop, is_one_line, places, put

from ppdet_ext.cli import deploy_infer
from ppdet_ext.deploy import DeployError, session, slicing
from ppdet_ext.engine import to_onnx

for package in ("paddle2onnx", "onnxruntime"):
    pytest.importorskip(package, reason='pip install "ppdet-ext[onnx]"')

QUIET = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
CASES = [100, pytest.param(3000, marks=pytest.mark.slow)]
VALUES = ["nan", "inf", "-inf", "-1", "0", "1", "2", "0.5", "1.0", "1e400", "9" * 30, "9" * 5000, "abc", "", " ", "\n",
          "a\x1b[2J", "x" * 300, "True", "0x10", "[1]", "/dev/null", "/proc/self/mem", "../..", "{folder}", "{picture}",
          "{folder}/infer_cfg.yml", "{folder}/model.onnx"]
FLAGS = ["model_dir", "engine", "precision", "image_file", "image_dir", "video_file", "camera_id", "batch_size",
         "threshold", "output_dir", "run_mode", "device", "cpu_threads", "enable_mkldnn", "enable_mkldnn_bfloat16",
         "save_images", "save_results", "use_coco_category", "trt_calib_mode", "collect_trt_shape_info",
         "trt_min_shape", "trt_max_shape", "trt_opt_shape", "tuned_trt_shape_file", "slice_size", "overlap_ratio",
         "combine_method", "match_threshold", "match_metric"]
TWICE = ("slice_size", "overlap_ratio")  # they take two values
TEXTS = ["", "a: &a [1]\nb: *a\n", "arch: DETR\narch: DETR\n", "[" * 50, "\x00", "- 1", "<<: {a: 1}", "a: 2026-99-99"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = known_network.save(tmp_path_factory.mktemp("model") / "known")
    to_onnx.convert(folder)
    for path in folder.glob("model.[jp]*"):
        path.unlink()
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return known_network.paint(tmp_path_factory.mktemp("pictures"))


def ends(arguments):
    """'well', or the line that deploy_infer ended with."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            deploy_infer.main(arguments)
    except DeployError as error:
        return str(error)
    except SystemExit as left:
        if left.code == session.SOME_FAILED:  # the picture's fault, said in its own line
            return "well"
        return said.getvalue().rstrip("\n") if left.code == 2 else f"left with\n{left.code}"
    return "well"


def check(end):
    assert end == "well" or is_one_line(end), end


@pytest.mark.parametrize("count", CASES)
def test_flags(model, pictures, tmp_path, monkeypatch, count):
    monkeypatch.chdir(tmp_path)  # where 'output' goes
    monkeypatch.setattr(slicing, "MAX_SLICES", 200)  # what is allowed shall be quick here
    seen = set()
    texts = st.sampled_from(VALUES) | st.text(max_size=20)

    @settings(max_examples=count, **QUIET)
    @given(st.dictionaries(st.sampled_from(FLAGS), st.tuples(texts, texts), min_size=1, max_size=2), st.booleans())
    def run(changes, slices):
        arguments = [f"--model_dir={model}", f"--image_file={pictures / 'a.png'}", f"--output_dir={tmp_path / 'out'}",
                     "--cpu_threads=1", *["--slice_infer"] * slices]
        for name, values in changes.items():
            values = [value.replace("{folder}", str(model)).replace("{picture}", str(pictures / "a.png"))
                      for value in values]
            if name == "output_dir":  # only there
                values = [str(tmp_path / "out" / values[0].replace("..", "").lstrip("/"))] * 2
            arguments += [f"--{name}", *values] if name in TWICE else [f"--{name}={values[0]}"]
        end = ends(arguments)
        check(end)
        seen.add(end == "well")

    run()
    assert seen == {True, False}


@pytest.mark.parametrize("count", CASES)
def test_infer_cfg(model, pictures, tmp_path, monkeypatch, count):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(model, tmp_path / "model")
    spots = list(places(SETTINGS))
    values = st.sampled_from(HOSTILE)
    seen = set()

    @settings(max_examples=count, **QUIET)
    @given(st.sampled_from(spots), st.none() | st.tuples(values) | st.sampled_from(TEXTS))
    def run(place, change):
        text = change if isinstance(change, str) else yaml.safe_dump(
            drop(SETTINGS, place) if change is None else put(SETTINGS, place, change[0]))
        (folder / "infer_cfg.yml").write_text(text)
        end = ends([f"--model_dir={folder}", f"--image_file={pictures / 'a.png'}", f"--output_dir={tmp_path / 'out'}",
                    "--cpu_threads=1"])
        check(end)
        seen.add(end == "well")

    run()
    assert seen == {True, False}


@pytest.mark.parametrize("arguments, line", [
    (["--threshold=nan"], "argument --threshold: must be a number from 0 to 1, not 'nan'"),
    (["--threshold=2"], "a number from 0 to 1, not '2'"), (["--threshold=-1"], "a number from 0 to 1, not '-1'"),
    (["--match_threshold=inf"], "a number from 0 to 1, not 'inf'"),
    (["--batch_size=0"], "argument --batch_size: must be at least 1, not 0"),
    (["--batch_size=1.5"], "must be a whole number, not '1.5'"),
    (["--cpu_threads=0"], "argument --cpu_threads: must be at least 1, not 0"),
    (["--cpu_threads=100000"], "must be at most 1024"), (["--camera_id=-2"], "must be at least -1, not -2"),
    (["--camera_id=99999999999"], "must be at most 9999"),
    (["--slice_size", "0", "640"], "argument --slice_size: must be at least 1, not 0"),
    (["--overlap_ratio", "1.0", "0"], "argument --overlap_ratio: must be at least 0 and below 1, not '1.0'"),
    (["--overlap_ratio", "nan", "0"], "below 1, not 'nan'"), (["--trt_min_shape=700"], "must rise, not 700, 640, 1280"),
    (["--slice_infer", "--slice_size", "1", "1", "--overlap_ratio", "0.99", "0"], "slices, more than 200; give a"),
    (["--image_file=" + "x" * 5000], "File name too long"),
    (["--video_file={model}/infer_cfg.yml"], "cannot open video"),
])
def test_wrong_flags_are_named(model, pictures, arguments, line, monkeypatch):
    monkeypatch.setattr(slicing, "MAX_SLICES", 200)
    end = ends([f"--model_dir={model}", f"--image_file={pictures / 'a.png'}",
                *(text.format(model=model) for text in arguments)])
    assert line in end and is_one_line(end)
