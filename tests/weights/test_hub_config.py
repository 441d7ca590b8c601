# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Files that hubs put beside weights say mean and std; what they say is what their own library does with a picture."""
import json
import re

import numpy as np
import pytest

from ppdet_ext.backbones import find_entry, recognise
from ppdet_ext.weights import metadata, source

TIMM = {"architecture": "resnet34", "num_classes": 1000, "pretrained_cfg": {
    "tag": "ra4_e3600_r224_in1k", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 0.5], "interpolation": "bicubic",
    "input_size": [3, 224, 224], "crop_pct": 0.9, "num_classes": 1000, "license": "apache-2.0", "url": "left out"}}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def beside(folder, weights="model.safetensors", **files):
    (folder / weights).write_bytes(b"not read here")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return source.locate_spec(folder / weights).meta


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin", "mine.pth"])
def test_timms_folder(tmp_path, weights):
    found = beside(tmp_path, weights, config=TIMM)
    assert found == {"arch": "resnet34", "tag": "ra4_e3600_r224_in1k", "license": "apache-2.0",
                     "input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.9, "num_classes": 1000,
                     "mean": [0.5] * 3, "std": [0.25, 0.5, 0.5], "normalization_from": str(tmp_path / "config.json")}


def test_timms_older_files_hold_it_at_their_top(tmp_path):
    found = beside(tmp_path, config={"architecture": "resnet34.a1_in1k", "mean": [0.1] * 3, "std": [1] * 3})
    assert (found["arch"], found["tag"], found["mean"]) == ("resnet34", "a1_in1k", [0.1] * 3)


PROCESSORS = {
    "usual": {"do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255, **IMAGENET},
    "no_normalising": {"do_normalize": False, "do_rescale": True, "rescale_factor": 1 / 255, **IMAGENET},
    "nothing_but_numbers": dict(IMAGENET),
    "pixels_up_to_255": {"do_normalize": True, "do_rescale": False, "image_mean": [123.0, 116.0, 103.0],
                         "image_std": [58.0, 57.0, 57.0]},
    "another_factor": {"do_normalize": True, "rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3,
                       "image_std": [1.0] * 3},
}


@pytest.mark.torch
@pytest.mark.parametrize("name", PROCESSORS)
def test_what_transformers_does_with_a_picture(tmp_path, name):
    processing = pytest.importorskip("transformers", reason="compares with its image processor")
    try:
        processor = processing.ViTImageProcessor(do_resize=False, **PROCESSORS[name])
    except ImportError as error:
        pytest.skip(str(error))
    picture = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype("uint8")
    wanted = np.asarray(processor(picture, return_tensors="pt", input_data_format="channels_last")["pixel_values"])[0]
    found = beside(tmp_path, preprocessor_config=PROCESSORS[name], config={"model_type": "vit"})
    ours = (picture / 255 - np.array(found["mean"])) / np.array(found["std"])
    np.testing.assert_allclose(ours.transpose(2, 0, 1), wanted, rtol=1e-5, atol=1e-5)


def test_the_usual_numbers_are_kept_to_the_bit(tmp_path):
    found = beside(tmp_path, preprocessor_config={**PROCESSORS["usual"], "rescale_factor": 0.00392156862745098,
                                                  "resample": 3})
    assert (found["mean"], found["std"]) == (IMAGENET["image_mean"], IMAGENET["image_std"])
    assert found["interpolation"] == "bicubic"
    assert found["normalization_from"].endswith("preprocessor_config.json")


def test_the_files_own_yml_wins_and_then_timms(tmp_path):
    found = beside(tmp_path, config=TIMM, preprocessor_config=PROCESSORS["usual"])
    assert found["mean"] == [0.5] * 3
    metadata.sidecar(tmp_path / "model.safetensors").write_text("mean: [0.1]\nstd: [1.0]\n")
    assert beside(tmp_path)["mean"] == [0.1]


@pytest.mark.parametrize("files", [{}, {"config": {"model_type": "resnet"}}, {"preprocessor_config": {"size": 224}}])
def test_files_that_say_nothing(tmp_path, files, log):
    assert beside(tmp_path, **files) == {} and log.text == ""


BROKEN = [
    ({"config": "{"}, "cannot read"), ({"config": "[1]"}, "is not a JSON object"),
    ({"config": {**TIMM, "pretrained_cfg": {"mean": ["a"] * 3, "std": [1] * 3}}}, "mean is .*, not a list of numbers;"),
    ({"config": {**TIMM, "pretrained_cfg": {"mean": [0.5] * 3, "std": [0] * 3}}}, "std is .*, not .* numbers above 0;"),
    ({"config": {**TIMM, "pretrained_cfg": {"mean": [float("nan")] * 3, "std": [1] * 3}}}, "mean is .*nan"),
    ({"preprocessor_config": {"do_normalize": True}}, "image_mean is None, not a list of numbers;"),
    ({"preprocessor_config": {**PROCESSORS["usual"], "rescale_factor": "1/255"}}, "rescale_factor is 1/255"),
]


@pytest.mark.parametrize("files, words", BROKEN)
def test_broken_files_are_named_and_not_used(tmp_path, files, words, log):
    assert beside(tmp_path, **files) == {}
    line, = log.messages
    assert line.endswith("its mean and std are not used") and "\n" not in line
    assert re.search(words, line), line


def test_a_folder_of_several_weight_files(tmp_path, log):
    """Which of them the file is about is known by a hub's name only."""
    (tmp_path / "other.pth").write_bytes(b"")
    assert beside(tmp_path, "mine.pth", config=TIMM) == {}
    assert "config.json' is not used: its folder holds several weight files" in log.text
    assert beside(tmp_path, "model.safetensors", config=TIMM)["mean"] == [0.5] * 3


HUB = "https://huggingface.co/timm/resnet34.ra4_e3600_r224_in1k"
NAMED = [
    (f"{HUB}/resolve/main/model.safetensors?download=true", "ra4_e3600_r224_in1k"),
    (f"{HUB}/resolve/0123abcd/pytorch_model.bin", "ra4_e3600_r224_in1k"),
    ("https://mirror.example/timm/resnet34.bt_in1k/resolve/main/model.safetensors", "bt_in1k"),
    ("https://download.pytorch.org/models/resnet34-b627a593.pth", "tv_in1k"),
    ("/root/.cache/torch/hub/checkpoints/resnet34-b627a593.pth", "tv_in1k"),
    ("weights/resnet34.bt_in1k/model.safetensors", "bt_in1k"), ("weights/resnet34.bt_in1k.safetensors", "bt_in1k"),
    ("~/hub/models--timm--resnet34.bt_in1k/snapshots/abc/model.safetensors", "bt_in1k"),
    ("https://huggingface.co/me/resnet34.bt_in1k/resolve/main/model.safetensors", None),  # somebody's own
    ("https://huggingface.co/timm/resnet34.new_in1k/resolve/main/model.safetensors", None),
    ("resnet34.pth", None), ("model.safetensors", None), (True, None), ("hub", None), (None, None),
]


@pytest.mark.parametrize("spec, tag", NAMED)
def test_addresses_and_paths_name_published_weights(spec, tag):
    found = recognise(spec, find_entry("resnet34").pretrained_cfgs.values())
    assert (found and found.tag) == tag


def test_the_very_address_brings_its_facts(monkeypatch, tmp_path):
    monkeypatch.setattr(source, "fetch", lambda url, **_: tmp_path / "file")
    cfg = find_entry("resnet34").pretrained_cfgs["ra4_e3600_r224_in1k"]
    assert source.locate_spec(f"{HUB}/resolve/main/model.safetensors", cfg=cfg).meta["tag"] == "ra4_e3600_r224_in1k"
    assert source.locate_spec(f"{HUB}/resolve/main/other.safetensors", cfg=cfg).meta == {}
