# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the tools leave out: each row against the library that it is about, and nothing else."""
import builtins
import contextlib
import importlib.util
import logging
import os
import re
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest
from support.paths import REPO, TOOLS

from ppdet_ext.cli import commands, run
from ppdet_ext.startup import quiet

# a line as its library makes it, for each row of quiet.PRINTED
PRINTED_LINES = ("WARNING: OMP_NUM_THREADS set to 2, not 1.", "PLEASE USE OMP_NUM_THREADS WISELY.",
                 "Warning: Unable to use numba in PP-Tracking, please", "loading annotations into memory...",
                 "Done (t=0.00s)", "index created!", "Loading and preparing results...",
                 "Evaluate annotation type *bbox*", "DONE (t=0.01s).")


@pytest.fixture
def clean(monkeypatch):
    """As a process starts: no user's wish, no variable, no line kept."""
    for name in (quiet.VERBOSE, *(name for name, _, _ in quiet.ENVIRONMENT)):
        monkeypatch.setenv(name, "")  # so that the test's own changes are undone
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["tool"])
    quiet._lines.clear()
    yield
    quiet.keep_with(None)
    quiet._lines.clear()


def said_by(module, line):
    """Print ``line`` as ``module`` would."""
    exec("print(line, 'and more')", {"__name__": module, "line": line})


def warned_by(file, line, category=UserWarning):
    warnings.warn_explicit(line, category, file, 1)


def strings_of(module):
    """The text of a module's files, or of all files of a package."""
    found = Path(importlib.util.find_spec(module).origin)
    files = found.parent.rglob("*.py") if found.name == "__init__.py" else [found]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@pytest.mark.parametrize("row, line", zip(quiet.PRINTED, PRINTED_LINES), ids=range(len(quiet.PRINTED)))
def test_a_row_is_about_what_its_library_prints(row, line, clean, capsys):
    module, text, reason = row
    assert re.match(text, line) and reason
    said = line.partition("(t=")[0] if "(t=" in line else " ".join(line.split()[:4]).rstrip(".!")
    assert said.replace("*bbox*", "*{}*").replace("to 2, not", "to") in strings_of(module), "nothing prints it any more"
    with quiet.Tool():
        said_by(module, line)
        assert list(quiet._lines) == [f"{line} and more"]
        said_by("users.own", line)
        said_by(module, f"also: {line}")
    assert capsys.readouterr().out == f"{line} and more\nalso: {line} and more\n"


@pytest.mark.parametrize("file, module, line", [
    ("paddle/utils/cpp_extension/extension_utils.py", "paddle.utils.cpp_extension", "No ccache found. Please"),
    ("anything.py", "pkg_resources", "pkg_resources is deprecated as an API"),
    ("paddle/nn/layer/norm.py", "paddle.nn.layer.norm", "When training, we now always track global mean")])
def test_a_row_is_about_what_its_library_warns_of(file, module, line, clean):
    assert line[:20] in strings_of(module)
    with warnings.catch_warnings(record=True) as seen, quiet.Tool():
        warnings.simplefilter("always")
        warned_by(f"/lib/{file}", line)
        assert list(quiet._lines) == [f"UserWarning: {line}"]
        warned_by(f"/lib/{file}", "something new")
        warned_by(f"/lib/{file}", line, RuntimeWarning)
        if module != "pkg_resources":  # which warns in the name of whoever imports it
            warned_by("/lib/users/own.py", line)
    assert [str(one.message) for one in seen] == ["something new", line, line][:2 + (module != "pkg_resources")]


def test_every_row_has_a_line_here():
    assert len(quiet.PRINTED) == len(PRINTED_LINES) and len(quiet.WARNED) == 3


def test_log_lines_that_are_listed_are_kept_and_not_shown(clean):
    from ppdet_ext.registry import names

    replaced = {"DETR": "ppdet.DETR"}
    names._replaced_by_us.update(replaced)
    seen, logger = [], logging.getLogger("ppdet_ext")
    handler = types.SimpleNamespace(level=0, handle=lambda record: seen.append(record.getMessage()))
    logger.addHandler(handler)
    try:
        with quiet.Tool():
            quiet.hold_loggers()
            names.announce_replaced()
            logger.warning("mine")
        assert seen == ["mine"]
        assert [line.partition(" ppdet_ext ")[2] for line in quiet._lines] == [
            "INFO: using ppdet_ext's DETR in place of ppdet's", "WARNING: mine"]
        names._replaced_by_us.update(replaced)
        assert quiet._handler() not in logger.handlers
        quiet.hold_loggers()  # in no tool
        names.announce_replaced()
        assert seen[1].startswith("using ppdet_ext's DETR") and len(seen) == 2
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("how", ["-v", "--verbose", "environment", "no"])
def test_verbose_shows_all(how, clean, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tool", *([how] if how.startswith("-") else [])])
    monkeypatch.setenv(quiet.VERBOSE, "1" if how == "environment" else "no")
    with quiet.Tool():
        said_by("pycocotools.coco", "index created!")
        assert ("GLOG_minloglevel" in os.environ) == (how == "no")
    assert bool(capsys.readouterr().out) == (how != "no")


def test_the_users_own_variable_is_kept_and_the_process_is_as_before(clean, monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "0")
    before = builtins.print, warnings.showwarning
    with pytest.raises(SystemExit):
        run(lambda: sys.exit(builtins.print is before[0]))
    assert os.getenv(quiet.ENVIRONMENT[0][0]) == "0" and (builtins.print, warnings.showwarning) == before


def test_imports_leave_what_was_changed_meanwhile(clean, monkeypatch):
    def others(*values):
        """Somebody's own."""

    @contextlib.contextmanager
    def failing_import():
        with quiet.imports():
            builtins.print = others
            raise ImportError

    monkeypatch.setattr(builtins, "print", builtins.print)
    before = warnings.showwarning
    with pytest.raises(ImportError), failing_import():
        pass
    assert builtins.print is others and warnings.showwarning is before


def test_what_waits_comes_first_in_a_file(clean):
    written = []
    quiet.keep("one")
    quiet.keep_with(written.append)
    quiet.keep("two")
    quiet.keep_with(None)
    quiet.keep("three")
    assert written == ["one", "two"] and list(quiet._lines) == ["three"]


def test_a_program_of_ones_own_is_told_and_changed_in_nothing():
    code = ("import builtins, os, warnings\n"
            "state = lambda: (builtins.print, warnings.showwarning, os.getenv('GLOG_minloglevel'))\n"
            "before = state()\n"
            "import ppdet_ext; ppdet_ext.setup()\n"
            "print(state() == before)")
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "2"}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    first, last = done.stdout.splitlines()
    assert "ppdet_ext INFO: using ppdet_ext's" in first and last == "True"


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.name)
def test_every_tool_takes_the_flag(command, capsys):
    words = ["backbone"] if command.name == "convert" else []
    with pytest.raises(SystemExit):
        importlib.import_module(f"ppdet_ext.{command.module}").parse_args([*words, "--help"])
    assert "-v, --verbose" in capsys.readouterr().out


LIBRARIES = re.compile(r"[IWEF]\d{4} |[^\[].*(arning: |pkg_resources|ccache|numba)|loading annot|creating index")


@pytest.mark.slow
def test_tools_say_nothing_but_their_own(tiny_config, small_digits, monkeypatch):
    """In fresh processes, as a user starts them, with no variable of ours set."""
    for name in (*(name for name, _, _ in quiet.ENVIRONMENT), quiet.VERBOSE, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    folder = tiny_config.parent

    def said(line, stderr=""):
        words = [sys.executable, *line.format(tools=TOOLS, config=tiny_config, pictures=small_digits / "val").split()]
        done = subprocess.run(words, cwd=folder, text=True, capture_output=True, timeout=300,
                              env={**os.environ, "PYTHONPATH": str(REPO)})
        assert done.returncode == 0 and bool(done.stderr) == bool(stderr) and stderr in done.stderr, done.stderr
        return done.stdout.splitlines()

    lines = {
        "train": said("{tools}/train.py -c {config} --eval"),
        "eval": said("{tools}/eval.py -c {config}"),
        "export": said("{tools}/export_model.py -c {config}"),
        "deploy": said("{tools}/deploy_infer.py --model_dir output_inference/tiny --image_dir {pictures}"),
        "sample-data": said("{tools}/make_sample_dataset.py --root more --train 1 --val 1 --size 96"),
    }
    for name, found in lines.items():
        assert not [line for line in found if LIBRARIES.match(line)], name
        assert re.match(r"\[.{14}\] ppdet(_ext|\.engine|\.data)|loading output_inference|wrote more", found[0]), name
    # what -v shows of it: Paddle's executor, on standard error, and pycocotools
    loud = said("{tools}/export_model.py -c {config} -v", stderr="eager_utils.cc")
    assert "creating index..." in loud and any("using ppdet_ext's DETR" in line for line in loud)
