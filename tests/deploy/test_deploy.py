# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""deploy/ and tools/deploy_infer.py on a network whose detections are known, and the export of the real detector."""
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
import yaml
from support import known_network
from support.detections import of_bbox_json, of_predictor, of_trainer, spread_heads
from support.detector_cases import load_on_cpu
from support.known_network import SETTINGS, SHARES, SIDE, Known, expected
from support.paths import TOOLS

from ppdet_ext.config import config_file
from ppdet_ext.deploy import (
    DeployError,
    Options,
    Predictor,
    compare,
    compare_all,
    media,
    paddle_engine,
    preprocess,
    session,
    slicing,
    video,
    visualize,
)
from ppdet_ext.deploy.predictor import Timings
from ppdet_ext.engine import draw, export, predict, verify_export
from ppdet_ext.engine.trainer import Trainer
from ppdet_ext.errors import UserError

TOOL = TOOLS / "deploy_infer.py"


@pytest.fixture(scope="module")
def known_model(tmp_path_factory):
    return known_network.save(tmp_path_factory.mktemp("model") / "known")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return known_network.paint(tmp_path_factory.mktemp("pictures"))


# ---- preprocessing

def noise(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


READERS = {
    "official": [{"Resize": {"target_size": [64, 96], "keep_ratio": False, "interp": 2}},
                 {"NormalizeImage": {"mean": [0.0] * 3, "std": [1.0] * 3, "norm_type": "none"}}, {"Permute": {}}],
    "imagenet": [{"Resize": {"target_size": [64, 64], "keep_ratio": False, "interp": 1}},
                 {"NormalizeImage": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}, {"Permute": {}}],
    "ratio and pad": [{"Resize": {"target_size": [64, 96], "keep_ratio": True, "interp": 2}},
                      {"Pad": {"size": [96, 96], "fill_value": [114.0, 114.0, 114.0]}},
                      {"NormalizeImage": {"mean": [0.5] * 3, "std": [0.5] * 3, "is_scale": True}}, {"Permute": {}}],
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("size", [(37, 91), (200, 130), (64, 96)])
def test_preprocessing_equals_ppdet(name, size, tmp_path):
    from ppdet.data.transform import operators

    path = tmp_path / "picture.png"
    media.write_image(path, noise(*size))
    sample = operators.Decode()({"im_file": str(path)})
    for step in READERS[name]:
        (kind, settings), = step.items()
        sample = getattr(operators, kind)(**settings)(sample)
    steps = preprocess.build([{"type": kind, **settings} for step in READERS[name] for kind, settings in step.items()])
    image, info = preprocess.apply(steps, media.read_image(path))
    assert image.dtype == np.float32 and image.flags.c_contiguous
    for ours, theirs in ((image, sample["image"]), (info["im_shape"], sample["im_shape"]),
                         (info["scale_factor"], sample["scale_factor"])):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_pad_stride_equals_ppdets_pad_batch():
    from ppdet.data.transform.batch_operators import PadBatch

    image = noise(37, 91).transpose(2, 0, 1).astype(np.float32)
    padded, _ = preprocess.build([{"type": "PadStride", "stride": 32}])[0](image, {})
    np.testing.assert_array_equal(padded, PadBatch(32)([{"image": image}])[0]["image"])
    assert padded.shape == (3, 64, 96)


def test_picture_is_turned_as_its_exif_tag_says(tmp_path):
    from PIL import Image

    path, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(20, 50)).save(path, exif=exif)
    assert media.read_image(path).shape == (50, 20, 3)


@pytest.mark.parametrize("step, words", [
    ({"type": "Warp"}, "unknown type 'Warp'; known are Resize, NormalizeImage, Permute, PadStride, Pad"),
    ({"type": "Resize", "size": 3}, "Resize has no setting 'size'; it has target_size, keep_ratio, interp"),
    ({"type": "NormalizeImage", "mean": [0], "std": [1], "norm_type": "max"}, "mean_std or none"),
    ({"type": "Resize"}, "target_size"),
    ({"type": "Pad", "pad_mode": 1}, "pad_mode 1"),
])
def test_wrong_step_is_named(step, words):
    with pytest.raises(DeployError, match=words):
        preprocess.build([step])


# ---- pictures

def test_what_opencv_cannot_write_is_one_line_and_leaves_nothing(tmp_path):
    for name in ("photo", "photo.abc"):
        with pytest.raises(DeployError, match=f"cannot write '.*{name}'.*png"):
            media.write_image(tmp_path / name, noise(8, 8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, target", [("photo", "photo.png"), ("a.b", "a.b.png"), ("a.JPG", "a.JPG")])
def test_a_picture_of_any_name_has_a_target_that_can_be_written(tmp_path, name, target):
    assert media.image_targets([tmp_path / name], tmp_path / "out") == [tmp_path / "out" / target]
    media.write_image(tmp_path / "out" / target, noise(8, 8))


def test_boxes_at_the_threshold_and_of_the_truth_are_drawn():
    image = np.zeros((100, 120, 3), np.uint8)
    boxes = np.array([[1, 0.5, 20, 30, 60, 60], [2, np.nan, 70, 30, 110, 60], [3, 0.49, 20, 70, 60, 90]], np.float32)
    drawn = visualize.draw_boxes(image, boxes, ["zero", "one"], 0.5)
    assert tuple(drawn[60, 40]) == visualize.class_colour(1) and tuple(drawn[60, 90]) == visualize.class_colour(2)
    assert not drawn[65:].any() and len(visualize.describe(boxes, 0.5)) == 2
    # the number stands for a class without a name, and no score is written for the truth
    assert np.array_equal(drawn, visualize.draw_boxes(image, boxes, {1: "one", 2: "2"}, 0.5))
    # the better box lies on top, in whatever order they come
    pair = np.array([[1, 0.9, 20, 30, 60, 60], [2, 0.6, 20, 30, 60, 60]])
    for order in (pair, pair[::-1]):
        assert tuple(visualize.draw_boxes(image, order, [])[60, 40]) == visualize.class_colour(1)


@pytest.mark.parametrize("titles", [("ground truth", "detections"), ("a", "as long a title as there ever will be")])
def test_titles_over_narrow_pictures_are_whole(titles):
    narrow, wide = np.full((100, 20, 3), 128, np.uint8), np.full((100, 900, 3), 128, np.uint8)
    ink = [(draw.beside([(picture, picture)], titles, height=100)[:28] < 128).sum() for picture in (narrow, wide)]
    assert ink[0] == ink[1] > 0


# ---- predictor

def test_detections_are_in_pixels_of_the_original_and_batches_do_not_mix(known_model, pictures):
    paths = [pictures / f"{name}.png" for name in "abc"]
    predictor = Predictor(known_model, batch_size=3)
    results = of_predictor(predictor.predict(paths))
    for path, boxes in zip(paths, results):
        np.testing.assert_allclose(boxes, expected(path), rtol=1e-5, atol=1e-5)
        assert boxes.dtype == np.float32
    arrays = of_predictor(Predictor(known_model).predict([media.read_image(path) for path in paths]))
    np.testing.assert_array_equal(np.stack(arrays), np.stack(results))
    summary = predictor.timings.summary()
    assert summary["images"] == 3 and summary["batches"] == 1
    assert summary["total"]["mean"] == pytest.approx(sum(summary[s]["mean"] for s in predictor.timings.STAGES))


def test_the_first_batch_is_told_apart(capsys):
    """100 ms for the first of three batches, 10 and 20 for the others; PaddleDetection's lines are about all."""
    timings = Timings()
    for milliseconds in (100, 10, 20):
        timings.add([0, 0, milliseconds / 1000, milliseconds / 1000], 2)
    session.print_timings(timings)
    *paddles, first, others = capsys.readouterr().out.splitlines()
    assert paddles[1] == "total_time(ms): 130.0, img_num: 6" and len(paddles) == 4
    assert first.startswith("first batch (ms)") and first.endswith("inference 100.00, postprocess 0.00, total 100.00")
    assert "of the other 2: " in others and others.endswith("total 15.00/15.00")
    session.print_timings(timings, warm=True)
    assert capsys.readouterr().out.splitlines()[4:] == [
        "per batch (ms), mean/median of 3: preprocess 0.00/0.00, inference 43.33/20.00, postprocess 0.00/0.00, "
        "total 43.33/20.00"]
    alone = Timings()
    alone.add([0, 0, 0.1, 0.1], 1)
    session.print_timings(alone)
    assert capsys.readouterr().out.splitlines()[-1].startswith("there was one batch only")


def test_pictures_of_different_input_sizes_do_not_share_a_batch(known_model, pictures, tmp_path):
    steps = [{"type": "Resize", "target_size": [32, 48], "keep_ratio": True}, *SETTINGS["Preprocess"][1:]]
    folder = known_network.save(tmp_path / "free", (-1, -1), Preprocess=steps)
    paths = [pictures / f"{name}.png" for name in "abc"]
    for path, boxes in zip(paths, of_predictor(Predictor(folder, batch_size=3).predict(paths))):
        np.testing.assert_allclose(boxes, expected(path), rtol=1e-5, atol=1e-5)


def test_unreadable_picture_raises_by_name_or_is_handed_to_the_caller(known_model, pictures):
    paths = [pictures / "broken.jpg", pictures / "a.png", pictures / "missing.png"]
    predictor = Predictor(known_model, batch_size=2)
    with pytest.raises(DeployError, match="broken.jpg"):
        predictor.predict(paths)
    told = []
    results = predictor.predict(paths, on_unreadable=lambda path, error: told.append(path.name))
    assert told == ["broken.jpg", "missing.png"]
    assert results[0] is None and results[2] is None
    np.testing.assert_allclose(results[1]["boxes"], expected(paths[1]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options, words", [
    ({"run_mode": "trt_fp16"}, "TensorRT and needs --device GPU"),
    ({"run_mode": "fp16"}, "it can be paddle, trt_fp32"),
    ({"device": "tpu"}, "it can be cpu, gpu"),
    ({"enable_mkldnn_bfloat16": True}, "needs --enable_mkldnn"),
    ({"batch_size": 0}, "batch_size"),
])
def test_wrong_options_are_refused(known_model, options, words):
    with pytest.raises(DeployError, match=words):
        Predictor(known_model, **options)


@pytest.mark.parametrize("wanted", [True, False])
def test_onednn_is_on_when_asked_for_only(wanted):
    configuration = paddle.inference.Config()
    paddle_engine._enable_cpu(configuration, Options(enable_mkldnn=wanted, cpu_threads=3))
    assert configuration.mkldnn_enabled() is wanted
    assert configuration.cpu_math_library_num_threads() == 3


def test_device_that_is_not_there_is_refused(known_model, monkeypatch):
    monkeypatch.setitem(paddle_engine.DEVICES, "gpu", paddle_engine._Device(lambda: False, None))
    for options in ({}, {"run_mode": "trt_fp16"}):
        with pytest.raises(DeployError, match="finds none here"):
            Predictor(known_model, device="GPU", **options)


def test_paddle_3_model_under_paddle_2_is_refused_before_it_crashes(known_model, tmp_path, monkeypatch):
    for name in ("model.json", "model.pdiparams"):
        (tmp_path / name).touch()
    (tmp_path / "infer_cfg.yml").write_text(yaml.safe_dump(SETTINGS))
    monkeypatch.setattr(paddle, "__version__", "2.6.2")
    with pytest.raises(DeployError, match="exported by Paddle 3"):
        Predictor(tmp_path)


@pytest.mark.parametrize("keep, words", [
    ((), "model.json .*, model.pdiparams, infer_cfg.yml missing"),
    (("model",), "infer_cfg.yml missing"),
    (("infer_cfg.yml",), "model.json"),
])
def test_what_an_exported_model_lacks_is_named(known_model, tmp_path, keep, words):
    for path in known_model.iterdir():
        if path.name.startswith(keep):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DeployError, match=words):
        Predictor(tmp_path)


@pytest.mark.parametrize("text, words", [("[1, 2", "not YAML"), ("mode: paddle", "lacks arch, Preprocess, label_list")])
def test_damaged_infer_cfg_is_named(known_model, tmp_path, text, words):
    for path in known_model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "infer_cfg.yml").write_text(text)
    with pytest.raises(DeployError, match=words):
        Predictor(tmp_path)


# ---- comparing, slicing

def test_compare_ignores_order_and_cut_but_nothing_else():
    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.integers(0, 3, 50), np.linspace(0.9, 0.1, 50), rng.uniform(0, 100, (50, 4))])
    assert compare(boxes, boxes[::-1]).within(1e-9)
    last = boxes.copy()
    last[-1] = [7, 0.1, 0, 0, 1, 1]
    assert compare(boxes, last).within(1e-9)
    for column, change in ((0, 1), (1, 0.05), (4, 3.0)):
        other = boxes.copy()
        other[3, column] += change
        assert not compare(boxes, other).within(1e-3)
    assert not compare(boxes, boxes[10:]).within(1e-3)
    assert not compare(boxes, boxes[:0]).within(1e-3)
    for wrong in (np.nan, np.inf):
        other = boxes.copy()
        other[:, 1] = wrong
        assert not compare(boxes, other).within(1e-3) and not compare(other, other).within(1e-3)


def test_slices_cover_the_picture():
    seen = np.zeros((100, 130), int)
    corners = slicing.windows((100, 130), (64, 48), (0.25, 0.25))
    for x1, y1, x2, y2 in corners:
        assert (x2 - x1, y2 - y1) == (64, 48)
        seen[y1:y2, x1:x2] += 1
    assert seen.min() >= 1 and len(corners) < 12
    assert slicing.windows((20, 30), (64, 48), (0, 0)) == [(0, 0, 30, 20)]


def test_nms_is_per_class_and_by_metric():
    boxes = np.array([[0, 0.9, 0, 0, 10, 10], [0, 0.8, 2, 2, 8, 8], [1, 0.7, 2, 2, 8, 8]], np.float32)
    assert slicing.nms(boxes, 0.6, "ios")[:, 1] == pytest.approx([0.9, 0.7])
    assert len(slicing.nms(boxes, 0.6, "iou")) == 3


def test_sliced_detection_moves_boxes_back_to_the_picture(known_model, pictures):
    args = SimpleNamespace(slice_size=[20, 30], overlap_ratio=[0, 0], combine_method="concat", match_threshold=0.6,
                           match_metric="ios")
    found = slicing.detect(Predictor(known_model), pictures / "a.png", args)
    corners = slicing.windows((60, 40), (20, 30), (0, 0))
    wanted = np.concatenate([SHARES * (20, 30, 20, 30) + (x, y, x, y) for x, y, _, _ in corners]).reshape(-1, 4)
    np.testing.assert_allclose(found[::3, 2:], wanted, atol=1e-4)
    with pytest.raises(DeployError, match="broken.jpg"):
        slicing.detect(Predictor(known_model), pictures / "broken.jpg", args)


# ---- the tool

BLOCKED = ("ppdet", "ppdet_ext", "torch", "skimage")


def run_tool(*arguments):
    """tools/deploy_infer.py in a process that can import none of BLOCKED."""
    code = (f"import sys, runpy; sys.modules.update(dict.fromkeys({BLOCKED})); sys.argv = sys.argv[1:]; "
            "runpy.run_path(sys.argv[0], run_name='__main__')")
    return subprocess.run([sys.executable, "-c", code, str(TOOL), *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, env={**os.environ, "OMP_NUM_THREADS": "2"})


def test_tool_on_a_folder(known_model, pictures, tmp_path):
    done = run_tool("--model_dir", known_model, "--image_dir", pictures, "--output_dir", tmp_path, "--save_results",
                    "--batch_size", 2, "--threshold", 0.75)
    assert done.returncode == session.SOME_FAILED, done.stderr
    assert done.stdout.startswith("loading ") and done.stderr == ""
    assert "broken.jpg" in done.stdout and "skipped 1 of 4" in done.stdout
    x1, y1, x2, y2 = expected(pictures / "b.png")[0, 2:]
    assert (f"class_id:1, confidence:0.8000, left_top:[{x1:.2f},{y1:.2f}],right_bottom:[{x2:.2f},{y2:.2f}]"
            in done.stdout)
    assert "confidence:0.2" not in done.stdout and "average latency time(ms)" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "bbox.json", "c.png"]
    drawn, original = media.read_image(tmp_path / "b.png"), media.read_image(pictures / "b.png")
    assert drawn.shape == original.shape and (drawn != original).any()
    found = of_bbox_json(tmp_path / "bbox.json")
    for name in "abc":
        assert compare(expected(pictures / f"{name}.png"), found[f"{name}.png"]).within(1e-5)


def test_tool_on_a_video(known_model, tmp_path):
    source = tmp_path / "in" / "clip.mp4"
    with video.video_writer(source, 10, (64, 48)) as write:
        for shade in (0, 100, 255):
            write(np.full((48, 64, 3), shade, np.uint8))
    done = run_tool("--model_dir", known_model, "--video_file", source, "--output_dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    clip = video.Video(tmp_path / "out" / "clip.mp4")
    assert (clip.size, clip.fps, len(list(clip))) == ((64, 48), 10, 3)
    assert done.stdout.count("class_id:") == 3


def test_tool_on_a_picture_without_suffix(known_model, pictures, tmp_path):
    (tmp_path / "photo").write_bytes((pictures / "a.png").read_bytes())
    done = run_tool("--model_dir", known_model, "--image_file", tmp_path / "photo", "--output_dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "photo.png" in done.stdout and [path.name for path in (tmp_path / "out").iterdir()] == ["photo.png"]


@pytest.mark.parametrize("arguments, words", [
    (["--image_file", "{pictures}/broken.jpg"], "none of the 1 pictures could be read"),
    (["--image_file", "{pictures}/none.png"], "is not a file"),
    (["--image_dir", "{pictures}", "--output_dir", "{pictures}"], "would overwrite"),
    (["--image_dir", "{pictures}", "--output_dir", "/proc/no"], "cannot write to"),
    (["--image_dir", "{pictures}", "--model_dir", "{pictures}"], "is no exported model"),
    (["--image_dir", "{pictures}", "--use_coco_category"], "COCO has 80"),
    (["--video_file", "{model}/infer_cfg.yml"], "cannot open video"),
    ([], "nothing to detect on"),
])
def test_tool_says_in_one_line_what_is_wrong(known_model, pictures, arguments, words, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ppdet_ext_deploy", None)
    monkeypatch.setattr(sys, "argv", ["deploy_infer.py", "--model_dir", str(known_model),
                                      *(text.format(pictures=pictures, model=known_model) for text in arguments)])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert left.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and words in lines[0]


@pytest.mark.parametrize("word, value", [("True", True), ("true", True), ("1", True), ("False", False), ("0", False)])
def test_switches_mean_what_they_say(tool, monkeypatch, word, value):
    monkeypatch.setattr(sys, "argv", ["x", "--model_dir", "m", "--enable_mkldnn", word])
    assert tool("deploy_infer").parse_args().enable_mkldnn is value


def test_both_tools_slice_alike(tool, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--model_dir", "m"])
    deployed, ours = vars(tool("deploy_infer").parse_args()), vars(tool("infer").parse_args(["-c", "c.yml"]))
    for name in ("slice_size", "overlap_ratio", "combine_method", "match_threshold", "match_metric"):
        assert ours[name] == deployed[name], name


# ---- the export of the detector

@pytest.fixture
def trainer(tiny_config):
    trainer = Trainer(load_on_cpu(tiny_config), "test")
    spread_heads(trainer.model)
    return trainer


def test_export_of_the_detector(trainer, small_digits, tmp_path):
    before = {name: value.numpy().copy() for name, value in trainer.model.state_dict().items()}
    folder = export.export_model(trainer, tmp_path / "inference")
    after = trainer.model.state_dict()
    assert list(before) == list(after) and all(np.array_equal(before[name], after[name]) for name in before)
    # not re-parameterised, still post-processing, and not turned into a static function
    assert any("bottlenecks" in name and name.endswith("conv2.bn") for name, _ in trainer.model.named_sublayers())
    assert not trainer.model.exclude_post_process and trainer.model.forward.__self__ is trainer.model
    assert folder == tmp_path / "inference" / "tiny" and [p.name for p in folder.parent.iterdir()] == ["tiny"]

    settings = yaml.safe_load((folder / "infer_cfg.yml").read_text())
    assert list(settings) == list(SETTINGS)[:6] + ["Preprocess", "label_list"]
    assert settings["arch"] == "DETR" and settings["label_list"] == [str(digit) for digit in range(10)]
    assert settings["Preprocess"][0] == {"type": "Resize", "target_size": [64, 64], "keep_ratio": False, "interp": 2}
    assert [step["type"] for step in settings["Preprocess"]] == ["Resize", "NormalizeImage", "Permute"]

    images = sorted(str(path) for path in (small_digits / "val").iterdir())
    wanted = of_trainer(trainer.predict(images, output_dir=str(tmp_path / "pictures"), visualize=False))
    for options in ({"batch_size": 3}, {"enable_mkldnn": True}):
        found = of_predictor(Predictor(folder, **options).predict(images))
        difference = compare_all(wanted, found)
        print(options, difference)
        assert len(found[0]) == 20 and difference.within(1e-3)


def test_infer_draws_as_deploy_infer_does(trainer, pictures, tmp_path):
    path, output_dir = tmp_path / "photo", str(tmp_path / "out")
    path.write_bytes((pictures / "a.png").read_bytes())
    boxes, = of_trainer(trainer.predict([str(path)], output_dir=output_dir, visualize=False))
    threshold = float(np.median(boxes[:, 1]))
    trainer.predict([str(path)], draw_threshold=threshold, output_dir=output_dir)
    original = media.read_image(path)
    wanted = visualize.draw_boxes(original, boxes, [str(digit) for digit in range(10)], threshold)
    assert (wanted != original).any()
    np.testing.assert_array_equal(media.read_image(tmp_path / "out" / "photo.png"), wanted)


def test_infer_slices_pictures(trainer, small_digits, tmp_path):
    """One slice as large as the picture is the picture; four give boxes all over it."""
    image = str(sorted((small_digits / "val").iterdir())[0])
    found = []
    for side in (None, 96, 48):
        slices = side and SimpleNamespace(slice_size=[side, side], overlap_ratio=[0, 0], combine_method="concat")
        found += of_trainer(predict.predict(trainer, [image], output_dir=str(tmp_path), slices=slices))
    whole, one, four = found
    assert len(whole) == 20 and compare(whole, one).within(1e-3)
    assert len(four) == 4 * 20 and {tuple(xy) for xy in (four[:, 2:4] + four[:, 4:]) // 2 // 48} == {
        (0, 0), (0, 1), (1, 0), (1, 1)}
    assert [path.name for path in tmp_path.glob("*.jpg")] == [Path(image).name]


def test_new_files_replace_old_ones_and_leave_the_others_alone(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    own = ("model.xml", "mine.onnx", "notes.txt")
    made = ("model.pdmodel", "model.pdiparams", "model.pdiparams.info", "model.onnx")
    for name in (*made, *own):
        (folder / name).write_text("old")
    with pytest.raises(ZeroDivisionError), export.fresh_folder(folder) as fresh:  # noqa: PT012  a context is tested
        (fresh / "model.json").write_text("half")
        raise ZeroDivisionError
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys((*made, *own), "old")
    with export.fresh_folder(folder) as fresh:
        for name in ("model.json", "model.pdiparams"):
            (fresh / name).write_text("new")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "model.json": "new", "model.pdiparams": "new", **dict.fromkeys(own, "old")}
    assert list(tmp_path.iterdir()) == [folder]
    with pytest.raises(ZeroDivisionError), export.fresh_folder(tmp_path / "second"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("case, picture", [(0, "a random batch of 2"), (1, "'coffee.png'")])
def test_exported_model_that_answers_otherwise_is_refused(known_model, case, picture):
    given = verify_export.cases(Known(), SETTINGS["Preprocess"], [SIDE, SIDE])
    assert [len(case.inputs["image"]) for case in given] == [2, 1]
    assert list(given[1].inputs["scale_factor"][0]) == pytest.approx([SIDE / 400, SIDE / 600])
    verify_export.verify(known_model, "paddle", given, boxes=True)
    given[case].wanted[0][0, 1] *= 1.01
    with pytest.raises(UserError, match=f"model.json .paddle. differs from the trained model on {picture}: scores 9"):
        verify_export.verify(known_model, "paddle", given, boxes=True)


def test_a_model_that_gives_no_numbers_is_not_exported():
    network = Known()
    network.shares.set_value(SHARES * np.float32("nan"))
    with pytest.raises(UserError, match="the trained model itself gives values that are no numbers"):
        verify_export.cases(network, SETTINGS["Preprocess"], [SIDE, SIDE])


@pytest.mark.parametrize("picture, shape, words", [
    ("broken.jpg", [SIDE, SIDE], "cannot be verified: .*broken.jpg"),
    ("a.png", [SIDE, 64], "TestReader makes 32x32 of '.*a.png', but the exported model takes 32x64"),
])
def test_a_picture_that_cannot_verify_is_named(pictures, picture, shape, words):
    with pytest.raises(UserError, match=words):
        verify_export.cases(Known(), SETTINGS["Preprocess"], shape, pictures / picture)


def test_export_for_benchmarks_has_no_boxes_and_says_so(tiny_config, pictures, tmp_path):
    trainer = Trainer(load_on_cpu(tiny_config, "export.benchmark=True", "export.fuse_conv_bn=True"), "test")
    spread_heads(trainer.model)
    predictor = Predictor(export.export_model(trainer, tmp_path))
    assert predictor.benchmark([pictures / "a.png"], warmup=1, repeats=3).summary()["images"] == 3
    with pytest.raises(DeployError, match="without post-processing"):
        predictor.predict([pictures / "a.png"])


@pytest.mark.parametrize("options, words", [
    (["num_classes=7"], "num_classes is 7, but .* names 10 classes"),
    (["export.fuse=True"], "unknown key 'fuse'"),
    (["TestReader.inputs_def.image_shape=[3,0,64]"], "image_shape"),
    (["TestReader.inputs_def.image_shape=[3,-1,-1]"], "inputs of any size"),
])
def test_what_cannot_be_exported_is_refused(trainer, options, words, tmp_path):
    config_file.merge(trainer.cfg, config_file.parse_options(options))
    with pytest.raises(UserError, match=words):
        export.export_model(trainer, tmp_path / "inference")
    assert not list(tmp_path.glob("inference/*"))
