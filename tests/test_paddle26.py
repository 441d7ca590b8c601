# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The end-to-end run and the detector's golden outputs again, under Paddle 2.6.2 (what paddlepaddle-gpu stops at)."""
import os
import subprocess

import paddle
import pytest
from environments import REPO, other_python

PACKAGES = ("-e", ".", "paddlepaddle==2.6.2", "pytest")
TESTS = ("tests/test_detector_golden.py", "tests/test_detector.py", "tests/test_end_to_end.py")


@pytest.mark.skipif(paddle.__version__.startswith("2.6"), reason="runs under Paddle 2.6 already")
def test_under_paddle_26():
    python = other_python("paddle26", PACKAGES)
    done = subprocess.run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS], cwd=REPO, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")})
    assert done.returncode == 0, done.stdout[-6000:]
    print(done.stdout.strip().splitlines()[-1])
