# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The kernels are on in these tests."""
import pytest

from ppdet_ext import kernels


@pytest.fixture(autouse=True)
def kernels_on():
    with kernels.enabled():
        yield
