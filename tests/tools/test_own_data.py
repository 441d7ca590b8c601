# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""--data and data: take the place of what a config says of its data; what is said against them is an error."""
import argparse

import pytest
import yaml
from support import data_sets, layout_cases
from support.data_sets import coco_values

from ppdet_ext.cli import own_data
from ppdet_ext.config import config_file, keys, resolved
from ppdet_ext.data import dataset_config
from ppdet_ext.errors import UserError


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A function: options -> (the config, its options), beside a YOLO set in mine/; the working directory is apart."""
    monkeypatch.chdir(tmp_path)
    layout_cases.yolo(tmp_path / "mine")

    def loaded(options=(), **values):
        cfg = data_sets.load(tmp_path, {**coco_values(tmp_path / "other", num_classes=80), **values}, options)
        keys.check_keys(cfg)
        return cfg, config_file.parse_options(options)
    return loaded


def flags(**given):
    return argparse.Namespace(data=None, quick=None, **given) if "data" not in given else argparse.Namespace(
        **{"quick": None, **given})


def test_the_flag_takes_the_place_of_the_config(load, tmp_path, capsys):
    cfg, options = load(["TrainDataset.sample_num=2"])
    given = own_data.apply(cfg, flags(data="mine"), options, "train")
    train, val = (dataset_config.read(cfg, f"{name}Dataset") for name in ("Train", "Eval"))
    assert train.anno_file == tmp_path / "output" / "config" / "data" / "train.json" and val.anno_file.is_file()
    assert train.dataset_dir == tmp_path / "mine" and cfg["num_classes"] == 2 and cfg["metric"] == "COCO"
    assert cfg["TrainDataset"]["sample_num"] == 2 and "image_dir" not in dict(cfg["TestDataset"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[0] == f"data: YOLO, in {tmp_path / 'mine'}"
    assert lines[5] == "in the config's place: num_classes 2 (not 80), TrainDataset, EvalDataset"
    assert given["data"] == "mine"
    assert own_data.evaluated_pictures({"command": given}) == [str(tmp_path / "mine" / "images" / "val" / "3.jpg")]


def test_a_key_of_the_config_does_too_and_the_flag_goes_before_it(load, tmp_path):
    cfg, options = load(data="mine")
    assert own_data.apply(cfg, flags(), options, "train") and cfg["num_classes"] == 2 and "data" not in cfg
    layout_cases.coco_folders(tmp_path / "second")
    cfg, options = load(data="mine")
    own_data.apply(cfg, flags(data="second"), options, "train")
    assert dataset_config.read(cfg, "TrainDataset").dataset_dir == tmp_path / "second"
    cfg, options = load()
    before = resolved.as_yaml(cfg)
    assert own_data.apply(cfg, flags(), options, "train") == {} and resolved.as_yaml(cfg) == before


def test_a_tagged_data_set_is_replaced(load):
    cfg, options = load()
    config_file.merge(cfg, {"TrainDataset": config_file.parse("!COCODataSet {dataset_dir: x, anno_path: y}", "test")})
    own_data.apply(cfg, flags(data="mine"), options, "train")
    assert cfg["TrainDataset"]["name"] == "COCODataSet" and cfg["TrainDataset"].pymodule


def test_evaluations_leave_a_trainings_files_alone(load, tmp_path):
    for mode, args, folder in (("eval", {}, "data/eval"), ("test", {}, "data/infer"), ("train", {"quick": 0},
                                                                                        "quick/data")):
        cfg, options = load()
        own_data.apply(cfg, flags(data="mine", **args), options, mode)
        found = dataset_config.read(cfg, "EvalDataset").anno_file
        assert found == tmp_path / "output" / "config" / folder / "val.json"
        kept = (found.parent / "train.json").exists()
        assert kept == (mode == "train")
    assert not (tmp_path / "output" / "config" / "data" / "train.json").exists()


@pytest.mark.parametrize("option,message", [
    ("num_classes=5", "-o num_classes=5, but --data has num_classes 2"),
    ("metric=VOC", "-o metric=VOC, but --data has metric COCO"),
    ("EvalDataset.anno_path=x.json", "-o EvalDataset.anno_path and --data both say where"),
    ("TestDataset.dataset_dir=x", "-o TestDataset.dataset_dir and --data both say where")])
def test_options_that_say_otherwise(option, message, load):
    cfg, options = load([option])
    with pytest.raises(UserError, match=message):
        own_data.apply(cfg, flags(data="mine"), options, "train")


def test_the_resolved_config_says_the_same_without_the_flag(load, tmp_path):
    schedule = "[!PiecewiseDecay {milestones: [3], gamma: 0.1}, !LinearWarmup {steps: 2}]"
    cfg, options = load([f"LearningRate.schedulers={schedule}"])
    own_data.apply(cfg, flags(data="mine"), options, "train")
    text = resolved.as_yaml(cfg, whole=True)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "config.yml").write_text(text)
    again = config_file.load(tmp_path / "again" / "config.yml")
    keys.check_keys(again)
    assert resolved.as_yaml(again, whole=True) == text and type(again["LearningRate"]["schedulers"][1]).__name__ == \
        "LinearWarmup"
    assert dataset_config.read(again, "TrainDataset").anno_file.is_file() and again["num_classes"] == 2


def test_whole_lists_are_whole():
    assert len(yaml.safe_load(resolved.as_yaml({"a": list(range(3000))}, whole=True))["a"]) == 3000
