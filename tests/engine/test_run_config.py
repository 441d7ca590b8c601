# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The config beside a run's checkpoints: it alone repeats the run, and whoever lacks it is told of it."""
import json
import types

import paddle
import pytest
import yaml

from ppdet_ext.datasets import conversion
from ppdet_ext.engine import load_weights, training_report
from ppdet_ext.errors import UserError


def trainer_in(folder, text="epoch: 3\n", **command):
    cfg = {"filename": folder.name, "command": {"config": "a.yml", "opt": ["num_classes=3"], **command}}
    return types.SimpleNamespace(output=folder, cfg=cfg, resolved=text)


def test_a_runs_config_is_written_and_somebody_elses_stays(tmp_path, log):
    trainer = trainer_in(tmp_path / "run")
    training_report.write_config(trainer)
    path = tmp_path / "run" / "run.yml"
    assert yaml.safe_load(path.read_text()) == {"epoch": 3} and f"train -c {path}" in path.read_text()
    training_report.write_config(trainer_in(tmp_path / "run", "epoch: 4\n"))
    assert yaml.safe_load(path.read_text()) == {"epoch": 4}
    path.write_text("epoch: 5\n")  # a user's own file of that name
    training_report.write_config(trainer)
    assert path.read_text() == "epoch: 5\n" and "is not this run's" in log.text


def test_the_next_commands_name_it_where_the_data_were_named(tmp_path):
    plain = training_report.next_commands(trainer_in(tmp_path), "best_model")
    assert "-c a.yml -o num_classes=3 weights=" in plain[0]
    with_data = training_report.next_commands(trainer_in(tmp_path, data="mine"), "best_model")
    assert f"-c {tmp_path / tmp_path.name}.yml -o weights=" in with_data[0] and "num_classes" not in "".join(with_data)


def test_a_checkpoint_of_other_classes_names_its_config(tmp_path):
    (tmp_path / "run").mkdir()
    paddle.save(paddle.nn.Linear(2, 3).state_dict(), str(tmp_path / "run" / "best_model.pdparams"))
    for written in (False, True):
        if written:
            (tmp_path / "run" / "run.yml").touch()
        with pytest.raises(UserError) as error:
            load_weights.load_exact(paddle.nn.Linear(2, 4), tmp_path / "run" / "best_model.pdparams")
        assert (f"the run that wrote it is -c {tmp_path / 'run' / 'run.yml'}" in str(error.value)) == written


@pytest.mark.slow
def test_a_yolo_set_is_trained_on_by_one_flag_and_the_runs_config_repeats_it(tiny_config, small_digits, tmp_path, tool,
                                                                             monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    conversion.convert(small_digits, tmp_path / "mine", "yolo")
    for name in ("train", "val"):
        (tmp_path / "mine" / "images" / name).rename(tmp_path / "mine" / "images" / f"part{name[:1]}")  # no split
        (tmp_path / "mine" / "labels" / name).rename(tmp_path / "mine" / "labels" / f"part{name[:1]}")
    (tmp_path / "mine" / "data.yaml").write_text("train: images\nval: images\nnames: [a, b, c, d, e, f, g, h, i, j]\n")
    options = ["-o", "seed=3", "worker_num=0", "validate=true", "report=false"]
    tool("train").main(["-c", str(tiny_config), "--data", "mine", *options])
    out = capsys.readouterr().out
    assert "data: YOLO, in" in out and "(made: 20% of each class" in out and "-c output/tiny/tiny.yml" in out.replace(
        f"{tmp_path}/", "")
    first, facts = curves(tmp_path), json.loads((tmp_path / "output/tiny/report.json").read_text())
    assert set(facts["classes"]) == set("abcdefghij")
    written = {path.name: path.read_bytes() for path in (tmp_path / "output/tiny/data").iterdir()}
    tool("train").main(["-c", "output/tiny/tiny.yml"])
    assert curves(tmp_path) == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "output/tiny/data").iterdir()} == written
    capsys.readouterr()
    tool("eval").main(["-c", str(tiny_config), "--data", "mine", "-o", "worker_num=0"])
    assert "classes: 10 (a, b" in capsys.readouterr().out
    found = tool("infer").main(["-c", str(tiny_config), "--data", "mine", "--output_dir", "drawn"])
    wanted = {image["file_name"].rpartition("/")[2] for image in json.loads(written["val.json"])["images"]}
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == wanted and len(found) == len(wanted)


def curves(folder):
    """The losses and APs of the run, without its seconds."""
    rows = json.loads((folder / "output/tiny/curves.json").read_text())
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
