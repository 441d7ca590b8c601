# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The end-to-end run and the detector's golden outputs again, under Paddle 2.6.2 (what paddlepaddle-gpu stops at)."""
import os
import subprocess

import paddle
import pytest
from support import environments
from support.environments import REPO, TEST_SECONDS, other_python

PACKAGES = ("-e", ".", "paddlepaddle==2.6.2", "pytest", "pytest-timeout", "pytest-xdist")
TESTS = ("tests/detector/test_detector_golden.py", "tests/detector/test_detector.py",
         "tests/engine/test_end_to_end.py")


@pytest.mark.slow
@pytest.mark.skipif(paddle.__version__.startswith("2.6"), reason="runs under Paddle 2.6 already")
def test_under_paddle_26():
    python = other_python("paddle26", PACKAGES)
    command = [python, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(command, cwd=REPO, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TEST_SECONDS,
                          env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")})
    assert done.returncode == 0, done.stdout[-6000:]
    print(done.stdout.strip().splitlines()[-1])


def test_an_environment_is_made_anew_when_its_packages_or_pyproject_change(tmp_path, monkeypatch):
    calls = []

    def run(command, timeout, **_):
        assert timeout == environments.INSTALL_SECONDS
        calls.append(command)
        (tmp_path / ".venv-toy").mkdir(exist_ok=True)

    for name in ("PPDET_EXT_TOY_PYTHON", "PPDET_EXT_VENVS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(environments, "REPO", tmp_path)
    monkeypatch.setattr(environments.subprocess, "run", run)
    setup = tmp_path / "pyproject.toml"
    # each: what pyproject.toml says, what is asked for, whether it is installed (two commands)
    for text, packages, anew in (("1", ("-e", "."), True), ("1", ("-e", "."), False), ("2", ("-e", "."), True),
                                 ("2", ("a",), True), ("3", ("a",), False), ("3", ("b",), True)):
        setup.write_text(text)
        calls.clear()
        other_python("toy", packages)
        assert len(calls) == 2 * anew, (text, packages)
    monkeypatch.setenv("PPDET_EXT_TOY_PYTHON", "/else/python")
    assert str(other_python("toy", ("c",))) == "/else/python" and len(calls) == 2
