# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Command lines and configs: options, flags, what a config may not do, and one line per mistake."""
import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ppdet.core.workspace import global_config

from ppdet_ext import cli, config
from ppdet_ext.errors import UserError

REPO = Path(__file__).resolve().parents[1]


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


# ---------------------------------------------------------------- -o
def test_options_of_one_group_are_all_kept():
    assert config.parse_options(["A.b.c=1", "A.b.d=x", "A.e=[1, 2]", "f=true"]) == \
        {"A": {"b": {"c": 1, "d": "x"}, "e": [1, 2]}, "f": True}


@pytest.mark.parametrize("text, value", [
    ("1e-4", 1e-4), ("2.5E+3", 2500.0), ("-1e2", -100.0), ("0.5", 0.5), ("1", 1), ("''", ""), ("", None), ("e5", "e5"),
    ("1e", "1e"), ("{x: 1e-3}", {"x": 1e-3})])
def test_option_values_are_yaml_with_all_floats(text, value):
    parsed = config.parse_options([f"a={text}"])["a"]
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize("options, words", [(["epoch"], "key=value"), (["=3"], "key=value"), (["a=1", "a.b=2"], "'a'"),
                                            (["a=[1"], "-o a")])
def test_bad_options_say_what_is_wrong(options, words):
    with pytest.raises(UserError, match=words):
        config.parse_options(options)


def test_option_sets_one_field_of_a_tagged_object(tmp_path):
    path = write(tmp_path, "a.yml", "TestDataset: !ImageFolder {anno_path: old.json, dataset_dir: data}\n")
    cfg = config.load(path, ["TestDataset.anno_path=new.json"])
    assert (cfg["TestDataset"].anno_path, cfg["TestDataset"].dataset_dir) == ("new.json", "data")
    with pytest.raises(UserError, match="anno_pth.*did you mean anno_path"):
        config.load(path, ["TestDataset.anno_pth=new.json"])


# ---------------------------------------------------------------- files
def test_bases_are_merged_and_the_outer_file_wins(tmp_path):
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", "one.yml", "epoch: 1\nTrainReader: {batch_size: 2, shuffle: true}\n")
    write(tmp_path / "base", "two.yml", "epoch: 2\nLearningRate: {schedulers: [!LinearWarmup {steps: 7}]}\n")
    path = write(tmp_path, "leaf.yml", "_BASE_: [base/one.yml, base/two.yml]\nTrainReader: {batch_size: 3}\n")
    cfg = config.load(path)
    assert (cfg["epoch"], cfg["filename"]) == (2, "leaf")
    assert (cfg["TrainReader"]["batch_size"], cfg["TrainReader"]["shuffle"]) == (3, True)
    assert cfg["LearningRate"]["schedulers"][0].steps == 7
    assert "_BASE_" not in cfg


def test_one_config_leaves_nothing_in_the_next(tmp_path):
    first = write(tmp_path, "a.yml", "epoch: 5\nTrainReader: {batch_size: 9}\nTrainDataset: !COCODataSet {}\n")
    second = write(tmp_path, "b.yml", "save_dir: x\n")
    config.load(first)
    cfg = config.load(second)
    assert "epoch" not in cfg and cfg["TrainReader"]["batch_size"] == 1
    assert cfg["TrainDataset"].name == "TrainDataset"  # the registered class is back
    assert cfg is global_config


@pytest.mark.parametrize("text, words", [
    ("_BASE_: [gone.yml]\n", "gone.yml.*_BASE_ of.*leaf.yml"),
    ("_BASE_: [leaf.yml]\n", "its own _BASE_"),
    ("a: 1\nb: [1, 2\nc: 3\n", "leaf.yml, line 3"),
    ("just words\n", "key: value"),
    ("", "key: value"),
    ("LearningRate: {schedulers: [!LinearWarmp {steps: 1}]}\n", "line 1.*!LinearWarmp"),
    ("LearningRate: {schedulers: [!LinearWarmup {stps: 1}]}\n", "stps"),
])
def test_bad_files_are_one_line(tmp_path, text, words):
    path = write(tmp_path, "leaf.yml", text)
    with pytest.raises(UserError, match=words) as caught:
        config.load(path)
    assert "\n" not in str(caught.value)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        config.load(tmp_path / "none.yml")
    with pytest.raises(UserError, match=".yml or .yaml"):
        config.load(write(tmp_path, "a.json", "{}"))
    (tmp_path / "b.yml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UserError, match="UTF-8"):
        config.load(tmp_path / "b.yml")


@pytest.mark.parametrize("value", ["!!python/object/apply:os.mkdir ['{path}']", "!!python/name:os.system",
                                   "!Callable {{full_type: os.system, args: ['touch {path}']}}"])
def test_configs_cannot_run_code(tmp_path, value):
    trace = tmp_path / "it_ran"
    path = write(tmp_path, "a.yml", f"TrainDataset: {value.format(path=trace)}\n")
    from ppdet.core import workspace
    for load in (config.load, workspace.load_config):
        with pytest.raises(UserError, match="line 1"):
            load(str(path))
    with pytest.raises(UserError):
        config.parse_options([f"a={value.format(path=trace)}"])
    assert not trace.exists()


# ---------------------------------------------------------------- flags, device
def test_switches_take_all_spellings():
    parser = argparse.ArgumentParser()
    cli.add_switch(parser, "--eval", "")
    spellings = {(): None, ("--eval",): True, ("--eval=True",): True, ("--eval", "False"): False, ("--eval=0",): False}
    for given, value in spellings.items():
        assert parser.parse_args(given).eval is value
    with pytest.raises(SystemExit):
        parser.parse_args(["--eval=maybe"])


def test_flags_left_out_do_not_override_the_config(tiny_config):
    parser = cli.config_parser("")
    cli.add_switch(parser, "--amp", "")
    options = ["-c", str(tiny_config), "-o", "amp=true", "epoch=7", "-o", "log_iter=3"]
    cfg = cli.load_cfg(parser.parse_args(options), "test")
    assert (cfg["amp"], cfg["epoch"], cfg["log_iter"]) == (True, 7, 3)
    assert cli.load_cfg(parser.parse_args(["-c", str(tiny_config), "--amp"]), "test")["amp"] is True


def test_device(monkeypatch):
    monkeypatch.setattr(cli, "_gpu_there", lambda: False)
    cfg = {"use_gpu": True}
    assert cli.set_device(cfg) == "cpu" and cfg["use_gpu"] is False
    for arguments in ({"device": "gpu"}, {"asked": True}):
        with pytest.raises(UserError, match="gpu.*--device cpu"):
            cli.set_device({"use_gpu": True}, **arguments)
    assert cli.set_device({"use_gpu": False}, asked=True) == "cpu"


# ---------------------------------------------------------------- leaving the process
@pytest.mark.parametrize("error, code, text", [(UserError("it is broken"), 2, "error: it is broken\n"),
                                               (KeyboardInterrupt(), 130, "interrupted\n")])
def test_run_ends_with_one_line(error, code, text, capsys):
    def main():
        raise error
    with pytest.raises(SystemExit) as caught:
        cli.run(main)
    assert caught.value.code == code
    assert capsys.readouterr().err == text


@pytest.mark.parametrize("name, arguments, words", [
    ("train", ["-c", "none.yml"], "none.yml"),
    ("eval", ["-c", "{config}", "-o", "weights=none.pdparams"], "none.pdparams"),
    ("eval", ["-c", "{config}"], "-o weights="),
    ("eval", ["-c", "{config}", "--model_dir", "none"], "none"),
    ("eval", ["-c", "{config}", "--json_eval", "--output_eval", "{folder}/data"], "no '.*bbox.json'"),
    ("infer", ["-c", "{config}"], "--infer_img"),
    ("infer", ["-c", "{config}", "--infer_img", "none.jpg"], "none.jpg"),
    ("infer", ["-c", "{config}", "--infer_dir", "{folder}/data"], "no image"),
    ("train", ["-c", "{config}", "-o", "save_dir={config}"], "cannot write"),
    ("train", ["-c", "{config}", "-o", "TrainReader.batch_size=9"], "batch_size"),
    ("train", ["-c", "{config}", "-o", "TrainReader.bach_size=9"], "bach_size"),
    ("train", ["-c", "{config}", "-r", "none"], "none.pdparams"),
    ("train", ["-c", "{config}", "-o", "num_classes=7"], "num_classes is 7"),
    ("train", ["-c", "{config}", "-o", "TimmBackbone.arch=resnet19"], "resnet18"),
    ("train", ["-c", "{config}", "-o", "pretrain_weights=none.pdparams"], "none.pdparams.*pretrain_weights=''"),
])
def test_tools_end_with_one_line(name, arguments, words, tool, tiny_config, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    given = [a.format(config=tiny_config, folder=tmp_path) for a in arguments]
    with pytest.raises(SystemExit) as caught:
        cli.run(lambda: tool(name).main(given))
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert caught.value.code == 2 and last.startswith("error: ")
    assert re.search(words, last), last
    assert not list((tmp_path / "output").glob("**/*.pd*"))


def test_a_tool_from_the_shell(tmp_path):
    done = subprocess.run([sys.executable, REPO / "tools" / "train.py", "-c", "none.yml"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("error: cannot read config 'none.yml'")
