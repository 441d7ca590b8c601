# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``ppdet-ext COMMAND``: the table of commands, what is answered before Paddle loads, how next steps are spelt."""
import importlib
import subprocess
import sys

import pytest
from support.paths import REPO, TOOLS

import ppdet_ext
from ppdet_ext.cli import commands

NAMES = [command.name for command in commands.COMMANDS]


@pytest.fixture(autouse=True)
def own_argv(monkeypatch):
    """A command writes its name to sys.argv, for argparse."""
    monkeypatch.setattr(sys, "argv", ["pytest"])


def answer(words, capsys):
    """(exit code, stdout, stderr) of ``ppdet-ext words``."""
    with pytest.raises(SystemExit) as left:
        commands.main(words)
    return (left.value.code, *capsys.readouterr())


def test_without_words_the_commands_are_listed_in_two_languages(capsys):
    for words in ([], ["--help"]):
        code, out, _ = answer(words, capsys)
        assert code == 0
        for command in commands.COMMANDS:
            line = next(line for line in out.splitlines() if line.startswith(f"  {command.name} "))
            assert command.help in line and command.help_cn in line


def test_version(capsys):
    assert answer(["--version"], capsys)[:2] == (0, f"ppdet-ext {ppdet_ext.__version__}\n")


def test_an_unknown_command_is_one_line_with_the_nearest(capsys):
    code, _, err = answer(["trian", "-c", "x.yml"], capsys)
    assert code == 2 and err.startswith("error: ppdet-ext: no command 'trian'; did you mean train?")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", commands.COMMANDS, ids=NAMES)
def test_each_command_is_a_tool_of_the_same_flags(command, tool, capsys):
    module = importlib.import_module(f"ppdet_ext.{command.module}")
    told = []
    for parse in (module.parse_args, tool(command.tool).parse_args):
        with pytest.raises(SystemExit) as left:
            parse(["--help"])
        assert left.value.code == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]


def test_each_tool_is_a_command():
    for_authors = {"make_catalogue", "make_graphs", "make_manifest"}
    assert {path.stem for path in TOOLS.glob("*.py")} - for_authors == {command.tool for command in commands.COMMANDS}


@pytest.mark.parametrize("name", NAMES)
def test_help_and_mistyped_flags_come_before_paddle(name):
    for flags, code in ((["--help"], 0), (["--no_such_flag"], 2)):
        script = ("import sys\nfrom ppdet_ext.cli import commands\n"
                  f"try:\n    commands.main({[name, *flags]!r})\n"
                  f"except SystemExit as left:\n    assert left.code == {code}, left.code\n"
                  "print('loaded:', *{'paddle', 'ppdet', 'torch'} & set(sys.modules))")
        done = subprocess.run([sys.executable, "-c", script], cwd=REPO, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "loaded:", done.stdout
        assert f"usage: ppdet-ext {name}" in done.stdout + done.stderr


@pytest.mark.parametrize("started, spelt", [("ppdet-ext train", "ppdet-ext export"),
                                            ("tools/train.py", "python tools/export_model.py")])
def test_next_steps_are_spelt_as_this_one_was(monkeypatch, started, spelt):
    monkeypatch.setattr(sys, "argv", [started])
    assert commands.spelling("export") == spelt
