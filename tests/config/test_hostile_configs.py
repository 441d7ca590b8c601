# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A config is data: what would run code is refused in one line and runs nothing; little text cannot ask for much."""
import os
import re

import pytest
import yaml
from paddle import nn
from ppdet.core import workspace
from ppdet.data import reader as readers
from ppdet.data.source.dataset import CommonDataset
from ppdet.modeling.backbones.convnext import ConvNeXt
from ppdet.modeling.backbones.vision_transformer import Block
from ppdet.modeling.necks.custom_pan import CustomCSPPAN
from ppdet.optimizer.adamw import build_adamwdl
from ppdet.optimizer.optimizer import LearningRate
from ppdet.optimizer.optimizer import OptimizerBuilder as InstalledBuilder
from support import hostile_configs as hostile
from support.paths import REPO

from ppdet_ext.checkpoints import models
from ppdet_ext.config import config_file, keys
from ppdet_ext.errors import UserError
from ppdet_ext.plain_yaml import Limits

CONFIGS = sorted(REPO.glob("configs/**/*.yml"))


def filled(text, tmp_path):
    """The text with its paths, and the path that nothing may make."""
    sentinel = tmp_path / "it_ran"
    path = hostile.write_pickle(tmp_path / "hostile.pdparams", sentinel)
    return text.format(sentinel=sentinel, pickle=path), sentinel


def refused(function, words, *args):
    with pytest.raises(UserError) as caught:
        function(*args)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 600
    assert re.search(words, line), line


def write(tmp_path, text, name="a.yml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


@pytest.mark.parametrize("name", hostile.PARSED)
def test_reading_runs_nothing(name, tmp_path):
    text, words = hostile.PARSED[name]
    text, sentinel = filled(text, tmp_path)
    path = write(tmp_path, text + "\n")
    write(tmp_path, "_BASE_: a.yml\n", "leaf.yml")
    for load in (config_file.load, workspace.load_config, models.build):
        refused(load, words, str(path))
    refused(config_file.load, words, tmp_path / "leaf.yml")
    if text.startswith(("a: ", "TestDataset: ", "TrainDataset: ")):
        key, _, value = text.partition(": ")
        refused(config_file.parse_options, re.sub("line . ?", "", words), [f"{key}.b={value}"])
    assert not sentinel.exists()


@pytest.mark.parametrize("name", hostile.BUILT)
def test_building_runs_nothing(name, tmp_path, monkeypatch):
    monkeypatch.setitem(ConvNeXt.arch_settings, "tiny", {"depths": [1] * 4, "dims": [8] * 4})
    text, words = hostile.BUILT[name]
    text, sentinel = filled(text, tmp_path)
    values = yaml.safe_load(text)
    parts = {key: values.pop(key) for key in list(values) if key.startswith("DETR.")}
    values = {"_BASE_": str(REPO / "configs" / "rtdetr_cspresnet.yml"), **values}
    values["DETR"] = {key.partition(".")[2]: value for key, value in parts.items()}
    path = write(tmp_path, yaml.safe_dump(values))

    def build():
        cfg = config_file.load(path)
        keys.check_keys(cfg)
        workspace.create(cfg["architecture"])
    refused(build, words)
    refused(models.build, words, path)
    assert not sentinel.exists()


def test_names_are_held_where_ppdet_looks_them_up(tmp_path):
    """Also in programs that do without check_keys."""
    log = {"name": "a", "output": str(tmp_path / "log")}
    refused(lambda: CommonDataset(name="video2frames", video_path="", outpath=str(tmp_path)), "is no data set")
    refused(lambda: readers.Compose([{"setup_logger": log}]), "'setup_logger' is no transform")
    refused(lambda: LearningRate(schedulers=[{"name": "setup_logger", "output": log["output"]}]), "is no scheduler")
    refused(lambda: InstalledBuilder(optimizer={"type": "Adamm"})(0.1), "is no optimizer .* did you mean Adam")
    assert not list(tmp_path.iterdir())


def test_what_configs_may_name_is_there():
    for name in ("nn.LayerNorm", "paddle.nn.LayerNorm"):
        assert type(Block(8, 2, norm_layer=name).norm2) is nn.LayerNorm
    assert CustomCSPPAN(act="swish", in_channels=[8, 8, 8], out_channels=[8, 8, 8])
    assert build_adamwdl(nn.Linear(2, 2), num_layers=1, skip_decay_names=["bias"])
    assert type(CommonDataset(name="COCODataSet")()).__name__ == "COCODataSet"
    rate = LearningRate(schedulers=[{"name": "CosineDecay", "max_epochs": 2}, {"name": "LinearWarmup"}])
    assert [type(scheduler).__name__ for scheduler in rate.schedulers] == ["CosineDecay", "LinearWarmup"]


@pytest.mark.parametrize("tag", ["CosineDecay {max_epochs: 3}", "COCODataSet {anno_path: a.json}", "ImageFolder {}",
                                 "GIoULoss {loss_weight: 2}", "MultiClassNMS {keep_top_k: 5}", "HungarianMatcher {}"])
def test_tags_that_keep_settings(tag):
    made = config_file.parse(f"!{tag}", "here")
    assert type(made).__name__ == tag.partition(" ")[0]


@pytest.mark.parametrize("name", hostile.ENDLESS)
def test_little_text_cannot_ask_for_much_work(name, tmp_path):
    text, words = hostile.ENDLESS[name]
    path = write(tmp_path, text)
    refused(config_file.load, words, path)
    if len(text) < 1 << 20:
        refused(config_file.parse_options, words.rpartition(": ")[2], ["a=" + text])


@pytest.mark.parametrize("text", hostile.ODD)
def test_odd_values_are_one_line(text, tmp_path):
    refused(config_file.load, "a.yml", write(tmp_path, text))


def test_what_is_no_small_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "folder.yml").mkdir()
    (tmp_path / "device.yml").symlink_to("/dev/zero")
    with open(tmp_path / "huge.yml", "wb") as file:
        file.truncate(1 << 40)
    for name, words in (("pipe", "not a file"), ("folder", "Is a directory"), ("device", "not a file"),
                        ("huge", "larger than 10485.. bytes")):
        refused(config_file.load, words, tmp_path / f"{name}.yml")
        refused(config_file.load, words, write(tmp_path, f"_BASE_: {name}.yml\n"))


def test_bases_come_to_an_end(tmp_path):
    for number in range(60):
        write(tmp_path, f"_BASE_: [{number + 1}.yml, {number + 1}.yml]\n", f"{number}.yml")
    refused(config_file.load, "more than 50 files in all", tmp_path / "0.yml")
    write(tmp_path, "_BASE_: one.yml\n", "two.yml")
    refused(config_file.load, "its own _BASE_", write(tmp_path, "_BASE_: [two.yml]\n", "one.yml"))
    for value in ("5", "[5]", "{a: 1}", "[[a.yml]]", '"a\\0.yml"'):
        refused(config_file.load, "it takes a file name, or a list", write(tmp_path, f"_BASE_: {value}\n"))
    for value in ("a" * 300 + ".yml", "~nobody/a.yml"):
        refused(config_file.load, "cannot read config", write(tmp_path, f"_BASE_: {value}\n"))
    refused(config_file.parse_options, "at most 50 deep", ["a." * 60 + "b=1"])


def test_bases_share_the_limits(tmp_path):
    write(tmp_path, "a: [1, 2, 3]\n", "base.yml")
    path = write(tmp_path, "_BASE_: [base.yml, base.yml]\nb: 1\n")
    assert config_file.read(path, Limits(nodes=19))["a"] == [1, 2, 3]
    refused(config_file.read, "keys and values", path, Limits(nodes=18))
    refused(config_file.read, "larger than", path, Limits(size=50))
    refused(config_file.read, "more than 2 files", path, Limits(files=2))


@pytest.mark.parametrize("text, words", [
    ("TrainReader: {batch_size: 2}\nepoch: 1\nTrainReader: {batch_size: 4}\n", "line 3: 'TrainReader' is written twice"
     ", first in line 1"),
    ("TrainReader:\n  batch_size: 2\n  batch_size: 4\n", "line 3: 'batch_size' is written twice, first in line 2"),
    ("a: [{b: 1}, {b: 1,\n \"b\": 2}]\n", "line 2: 'b' is written twice, first in line 1"),
    ("LearningRate: {schedulers: [!LinearWarmup {steps: 1, steps: 2}]}\n", "'steps' is written twice"),
])
def test_a_key_stands_once(text, words, tmp_path):
    refused(config_file.load, words, write(tmp_path, text))


def test_merged_and_overridden_keys_are_not_written_twice(tmp_path):
    text = ("x: {c: {<<: &b {<<: &a {one: 1, two: 2}, one: 3}, two: 4}}\n"
            "y: {<<: *b, <<: *a, one: 5}\nz: *a\n")
    assert config_file.read(write(tmp_path, text)) == {
        "x": {"c": {"one": 3, "two": 4}}, "y": {"one": 5, "two": 2}, "z": {"one": 1, "two": 2}}


def plain(value):
    """Objects as their class's name and fields; ppdet's loader takes 1e-4 for text."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str) and re.fullmatch(r"\d+e-\d+", value):
        return float(value)
    return (type(value).__name__, plain(vars(value))) if hasattr(value, "__dict__") else value


def read_by_ppdets_rules(path):
    """PyYAML's own loader, which ppdet takes, and ppdet's merge."""
    values, merged = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.Loader), {}
    for base in values.pop("_BASE_", []):
        workspace.dict_merge(merged, read_by_ppdets_rules(path.parent / base))
    return workspace.dict_merge(merged, values)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_official_configs_are_what_ppdet_reads(path):
    assert plain(config_file.read(path)) == plain(read_by_ppdets_rules(path))
