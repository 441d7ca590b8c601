# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""-o weights= of evaluation, inference and export: torch's files name the command that converts them."""
import shlex

import pytest

from ppdet_ext.cli import convert_weights, prepare
from ppdet_ext.errors import UserError


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my config.yml").write_text("epoch: 1\n")


def required(weights):
    return prepare.required_weights({"weights": str(weights), "command": {"config": "my config.yml",
                                                                          "opt": [f"weights={weights}"]}})


@pytest.mark.parametrize("name", ["x.pth", "x.pt", "x.safetensors", "x.ckpt", "x.bin", "x.pth.tar", "hf"])
def test_the_command_is_one_that_can_be_pasted(tmp_path, name):
    path = tmp_path / "my runs" / name
    path.parent.mkdir()
    path.mkdir() if name == "hf" else path.touch()
    with pytest.raises(UserError, match="is torch's.*convert_weights.py detector.*and then -o weights=") as error:
        required(path)
    words = shlex.split(str(error.value).partition("convert_weights.py ")[2].partition(" and then ")[0])
    args = convert_weights.parse_args(words)
    assert (args.command, args.model, args.to) == ("detector", "my config.yml", "paddledet")
    assert args.source == str(path) and args.output.endswith(".pdparams")
    assert str(error.value).endswith(f"-o weights={args.output}")


def test_an_address_of_torchs(monkeypatch):
    with pytest.raises(UserError, match="@x.org/net.pth is torch's.* net.pdparams and then -o weights=net"):
        required("https://me:secret@x.org/net.pth")


@pytest.mark.parametrize("weights", ["x.pdparams", "x.pdema", "best_model", "https://x.org/x.pdparams", "missing.pth"])
def test_others_are_left_to_the_loader(weights):
    assert required(weights) == weights
