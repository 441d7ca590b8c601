# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The kernels are on in these tests, and have been compared with Paddle's operations before."""
import pytest

from ppdet_ext import kernels
from ppdet_ext.kernels import dispatch


@pytest.fixture(autouse=True)
def kernels_on():
    with kernels.enabled():
        for check in dispatch.CHECKS:
            check.passed()
        yield
