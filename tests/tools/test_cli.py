# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Command lines and configs: options, flags, what a config may not do, and one line per mistake."""
import argparse
import errno
import re
import shutil
import subprocess
import sys

import pytest
from ppdet.core.workspace import global_config
from support.paths import REPO

from ppdet_ext import cli
from ppdet_ext.config import config_file
from ppdet_ext.deploy.session import SOME_FAILED
from ppdet_ext.errors import UserError


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


# ---------------------------------------------------------------- -o
def test_options_of_one_group_are_all_kept():
    assert config_file.parse_options(["A.b.c=1", "A.b.d=x", "A.e=[1, 2]", "f=true"]) == \
        {"A": {"b": {"c": 1, "d": "x"}, "e": [1, 2]}, "f": True}


@pytest.mark.parametrize("text, value", [
    ("1e-4", 1e-4), ("2.5E+3", 2500.0), ("-1e2", -100.0), ("0.5", 0.5), ("1", 1), ("''", ""), ("", None), ("e5", "e5"),
    ("1e", "1e"), ("{x: 1e-3}", {"x": 1e-3})])
def test_option_values_are_yaml_with_all_floats(text, value):
    parsed = config_file.parse_options([f"a={text}"])["a"]
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize("options, words", [(["epoch"], "key=value"), (["=3"], "key=value"), (["a=1", "a.b=2"], "'a'"),
                                            (["a=[1"], "-o a")])
def test_bad_options_say_what_is_wrong(options, words):
    with pytest.raises(UserError, match=words):
        config_file.parse_options(options)


def test_option_sets_one_field_of_a_tagged_object(tmp_path):
    path = write(tmp_path, "a.yml", "TestDataset: !ImageFolder {anno_path: old.json, dataset_dir: data}\n")
    cfg = config_file.load(path, ["TestDataset.anno_path=new.json"])
    assert (cfg["TestDataset"].anno_path, cfg["TestDataset"].dataset_dir) == ("new.json", "data")
    with pytest.raises(UserError, match="anno_pth.*did you mean anno_path"):
        config_file.load(path, ["TestDataset.anno_pth=new.json"])


# ---------------------------------------------------------------- files
def test_bases_are_merged_and_the_outer_file_wins(tmp_path):
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", "one.yml", "epoch: 1\nTrainReader: {batch_size: 2, shuffle: true}\n")
    write(tmp_path / "base", "two.yml", "epoch: 2\nLearningRate: {schedulers: [!LinearWarmup {steps: 7}]}\n")
    path = write(tmp_path, "leaf.yml", "_BASE_: [base/one.yml, base/two.yml]\nTrainReader: {batch_size: 3}\n")
    cfg = config_file.load(path)
    assert (cfg["epoch"], cfg["filename"]) == (2, "leaf")
    assert (cfg["TrainReader"]["batch_size"], cfg["TrainReader"]["shuffle"]) == (3, True)
    assert cfg["LearningRate"]["schedulers"][0].steps == 7
    assert "_BASE_" not in cfg


def test_one_config_leaves_nothing_in_the_next(tmp_path):
    first = write(tmp_path, "a.yml", "epoch: 5\nTrainReader: {batch_size: 9}\nTrainDataset: !COCODataSet {}\n")
    second = write(tmp_path, "b.yml", "save_dir: x\n")
    config_file.load(first)
    cfg = config_file.load(second)
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
        config_file.load(path)
    assert "\n" not in str(caught.value)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        config_file.load(tmp_path / "none.yml")
    with pytest.raises(UserError, match=".yml or .yaml"):
        config_file.load(write(tmp_path, "a.json", "{}"))
    (tmp_path / "b.yml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UserError, match="UTF-8"):
        config_file.load(tmp_path / "b.yml")


@pytest.mark.parametrize("value", ["!!python/object/apply:os.mkdir ['{path}']", "!!python/name:os.system",
                                   "!Callable {{full_type: os.system, args: ['touch {path}']}}"])
def test_configs_cannot_run_code(tmp_path, value):
    trace = tmp_path / "it_ran"
    path = write(tmp_path, "a.yml", f"TrainDataset: {value.format(path=trace)}\n")
    from ppdet.core import workspace
    for load in (config_file.load, workspace.load_config):
        with pytest.raises(UserError, match="line 1"):
            load(str(path))
    with pytest.raises(UserError):
        config_file.parse_options([f"a={value.format(path=trace)}"])
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
    import paddle
    monkeypatch.setattr(paddle.device, "is_compiled_with_cuda", lambda: False)
    cfg = {"use_gpu": True}
    assert cli.set_device(cfg) == "cpu" and cfg["use_gpu"] is False
    for arguments in ({"device": "gpu"}, {"asked": True}):
        with pytest.raises(UserError, match="gpu.*--device cpu"):
            cli.set_device({"use_gpu": True}, **arguments)
    assert cli.set_device({"use_gpu": False}, asked=True) == "cpu"


# ---------------------------------------------------------------- leaving the process
@pytest.mark.parametrize("error, code, text", [
    (UserError("it is broken"), 2, "error: it is broken\n"), (KeyboardInterrupt(), 130, "interrupted\n"),
    (OSError(errno.ENOSPC, "No space left on device"), 2,
     "error: cannot write (No space left on device; free some space, or name another folder)\n"),
    (RuntimeError("C++: No space left on device"), 2,
     "error: cannot write (No space left on device; free some space, or name another folder)\n"),
    (PermissionError(errno.EACCES, "Permission denied", "bbox.json"), 2,
     "error: cannot use 'bbox.json' (Permission denied; name another folder or mend its rights)\n"),
])
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
    ("eval", ["-c", "{config}"], "no '.*output/tiny/best_model.pdparams': train first.*-o weights=.*model_final"),
    ("train", ["-c", "{repo}/configs/datasets/digits_detection.yml"], "names no architecture; start from"),
    ("train", ["-c", "{config}", "-o", "batch_size=4"], "did you mean TrainReader.batch_size"),
    ("train", ["-c", "{config}", "--import", "none.py"], "no Python file 'none.py'"),
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
    given = [a.format(config=tiny_config, folder=tmp_path, repo=REPO) for a in arguments]
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


# ---------------------------------------------------------------- a user's own class
NET = """\
from rt_detr_paddle import register
from paddle import nn


@register
class ThreeStrides:
    def __init__(self, width=8):
        widths = [width, 2 * width, 4 * width]
        self.parts = nn.LayerList([nn.Conv2D(i, o, 3, stride, 1) for i, o, stride in
                                   zip([3, *widths], widths, (8, 2, 2))])

    def forward(self, x):
        features = []
        for part in self.parts:
            x = nn.functional.relu(part(x))
            features.append(x)
        return features
"""


@pytest.mark.slow
def test_a_users_class_trains_from_the_shell(tiny_config, tmp_path):
    write(tmp_path, "net.py", NET)
    options = ["DETR.backbone.name=ThreeStrides", "DETR.backbone.width=6", "epoch=1",
               "normalization={mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}"]
    done = subprocess.run([sys.executable, REPO / "tools/train.py", "-c", tiny_config, "--import", "net.py", "-o",
                           *options], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    import paddle
    state = paddle.load(str(tmp_path / "output/tiny/model_final.pdparams"))
    assert state["backbone.parts.2.weight"].shape == [24, 12, 3, 3]


@pytest.mark.parametrize("text, words", [
    ("from ppdet_ext.errors import UserError\nraise UserError('mine')\n", "^mine$"),
    ("a = 1\nb = c\n", "bad.py', line 2: NameError: name 'c'"),
    ("a = (\n", "bad.py'.*SyntaxError"),
])
def test_a_users_file_that_fails_is_one_line(tmp_path, text, words):
    with pytest.raises(UserError, match=words) as caught:
        cli.import_file(write(tmp_path, "bad.py", text))
    assert "\n" not in str(caught.value)


def test_import_says_that_it_runs_code(tmp_path, log, capsys):
    """And what it brings may be named in a config, as a tag too."""
    path = write(tmp_path, "mine.py", "import yaml\nfrom ppdet.core.workspace import serializable\n\n\n@serializable\n"
                 "class Mine:\n    def __init__(self, a):\n        self.a = a\n")
    cli.import_file(path)
    assert f"--import: running '{path}'" in log.text
    assert config_file.parse("!Mine {a: 3}", "here").a == 3
    with pytest.raises(SystemExit):
        cli.config_parser("").parse_args(["--help"])
    assert "runs this file" in capsys.readouterr().out


def test_imports_are_kept_for_the_report(tiny_config, tmp_path):
    path = str(write(tmp_path, "nothing.py", ""))
    args = cli.config_parser("").parse_args(["-c", str(tiny_config), "--import", path, "--import", path])
    assert cli.load_cfg(args, "test")["command"]["imports"] == [path, path]


# ---------------------------------------------------------------- tools on a checkpoint
@pytest.fixture
def trained(tiny_config, tool, tmp_path, monkeypatch):
    """The config's own best_model, with the weights of a fresh detector."""
    import paddle

    from ppdet_ext.engine.trainer import Trainer
    monkeypatch.chdir(tmp_path)
    cfg = cli.load_cfg(cli.config_parser("").parse_args(["-c", str(tiny_config)]), "test")
    (tmp_path / "output/tiny").mkdir(parents=True)
    paddle.save(Trainer(cfg, "test").model.state_dict(), str(tmp_path / "output/tiny/best_model.pdparams"))
    return tiny_config


def test_infer_takes_best_model_and_skips_what_it_cannot_read(trained, tool, small_digits, tmp_path, log):
    pytest.importorskip("visualdl", reason="--use_vdl needs it")
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "good.jpg").write_bytes((small_digits / "val/000000.jpg").read_bytes())
    (folder / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(SystemExit) as caught:
        tool("infer").main(["-c", str(trained), "--infer_dir", str(folder), "--output_dir", "seen", "--use_vdl"])
    assert caught.value.code == SOME_FAILED
    assert [path.name for path in (tmp_path / "seen").iterdir()] == ["good.jpg"]
    assert re.search("Skipped '.*broken.jpg': broken, or not an image", log.text)
    assert list((tmp_path / "vdl_log_dir/image").glob("vdlrecords*"))


def test_ap_per_class(trained, tool, tmp_path, log):
    assert set(tool("eval").main(["-c", str(trained), "--classwise"])) > {"AP", "AP50"}
    curves = sorted((tmp_path / "bbox_pr_curve").iterdir())
    assert [path.name for path in curves] == [f"{digit}_precision_recall_curve.jpg" for digit in range(10)]
    table = re.search("Per-category of bbox AP: .*per-category PR curve", log.text, re.DOTALL).group()
    shutil.rmtree(tmp_path / "bbox_pr_curve")
    log.clear()
    tool("eval").main(["-c", str(trained), "--classwise", "--json_eval"])
    assert re.search("Per-category of bbox AP: .*per-category PR curve", log.text, re.DOTALL).group() == table
    assert sorted((tmp_path / "bbox_pr_curve").iterdir()) == curves


@pytest.mark.parametrize("name, flags", [
    ("infer", ["--infer_img", "{image}", "--output_dir", "{file}/out"]),
    ("eval", ["--output_eval", "{file}/out"]),
    ("export_model", ["--output_dir", "{file}/out"]),
])
def test_a_folder_that_cannot_be_written_is_one_line(name, flags, trained, tool, small_digits, tmp_path, capsys):
    file, image = write(tmp_path, "file", ""), small_digits / "val/000000.jpg"
    flags = [flag.format(file=file, image=image) for flag in flags]
    with pytest.raises(SystemExit) as caught:
        cli.run(lambda: tool(name).main(["-c", str(trained), *flags]))
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert caught.value.code == 2 and last.startswith(f"error: cannot write to '{file}/out"), last


FULL = [
    ("infer", ["-c", "{config}", "--infer_img", "{image}", "--output_dir", "out"]),
    ("eval", ["-c", "{config}", "--output_eval", "out"]),
    ("export_model", ["-c", "{config}", "--output_dir", "out"]),
    ("train", ["-c", "{config}", "-o", "epoch=1", "save_dir=out"]),
    ("convert_weights", ["backbone", "--arch", "tf_efficientnet_lite0", "--checkpoint", "{weights}", "-o",
                         "out/new.pdparams", "--allow", "conv_head.*", "bn2.*", "classifier.*"]),
    ("make_sample_dataset", ["--root", "out/set", "--train", "1", "--val", "1", "--size", "96"]),
]


@pytest.mark.parametrize("name, flags", FULL, ids=[name for name, _ in FULL])
def test_a_full_disk_is_one_line_and_old_files_stay(name, flags, trained, tool, small_digits, tmp_path, capsys,
                                                    monkeypatch):
    """No file of this process may grow beyond a size, which is what a full disk looks like to a writer."""
    resource = pytest.importorskip("resource")
    monkeypatch.setenv("PPDET_EXT_HOME", str(tmp_path / "home"))
    (tmp_path / "out").mkdir()
    for kept in ("000000.jpg", "bbox.json"):
        (tmp_path / "out" / kept).write_text("old")
    values = {"config": trained, "image": small_digits / "val/000000.jpg",
              "weights": tmp_path / "output/tiny/best_model.pdparams"}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(SystemExit) as caught:
            cli.run(lambda: tool(name).main([flag.format(**values) for flag in flags]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert caught.value.code == 2 and re.match(r"error: cannot write .*\(File too large", last), last
    left = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert left - {"curves.json", "metrics.jsonl", "train.log"} == {"000000.jpg", "bbox.json"}  # these are small enough
    assert (tmp_path / "out/000000.jpg").read_text() == (tmp_path / "out/bbox.json").read_text() == "old"


def test_an_unreadable_training_image_is_one_line(tiny_config, small_digits, tmp_path):
    shutil.copytree(small_digits, tmp_path / "dataset/digits")
    import cv2
    good = cv2.imencode(".png", cv2.imread(str(small_digits / "train/000003.jpg")))[1].tobytes()
    # the header is a picture's, so that the look before training passes
    (tmp_path / "dataset/digits/train/000003.jpg").write_bytes(good[:41] + b"x" * 50)
    done = subprocess.run([sys.executable, REPO / "tools/train.py", "-c", tiny_config, "-o",
                           f"TrainDataset.dataset_dir={tmp_path}/dataset/digits"],
                          cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-3000:]
    last = done.stderr.rstrip().splitlines()[-1]
    assert re.match("error: image '.*train/000003.jpg' is unreadable", last), last
