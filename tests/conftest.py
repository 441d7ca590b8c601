# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What every test may use: ppdet's global config put back, seeds, and a detector small enough to train in seconds."""
import contextlib
import ctypes
import gc
import importlib.util
import logging
import os
import random
import warnings

import numpy as np
import psutil
import pytest
from support.paths import REPO
from support.tiny import TINY

import ppdet_ext

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # the workers share the cores; said before Paddle loads
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(share, 1)))
ppdet_ext.setup()

COLLECT_BYTES = 2 * 2**30
SLOW_SECONDS = 3000  # for a slow test, which may make an environment first


def pytest_collection_modifyitems(items):
    """Slow and exhaustive tests have a limit of their own; the others have that of pyproject.toml."""
    for item in items:
        long = item.get_closest_marker("slow") or item.get_closest_marker("exhaustive")
        if long and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


@pytest.fixture(scope="session", autouse=True)
def weights_home(tmp_path_factory):
    """Converted and downloaded weights of the tests land here, not among the user's, whose caches are not looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPDET_EXT_HOME", str(tmp_path_factory.mktemp("weights")))
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        yield


@pytest.fixture(autouse=True)
def fresh_state():
    """The same random numbers for every test, and ppdet's global config as it was before it.

    Paddle keeps each static program that ran, and six threads for it: they go, or a run would have thousands of them.
    """
    import paddle
    from paddle.base import core
    from ppdet.core.workspace import global_config

    warnings.filterwarnings("ignore", message="No ccache found")
    random.seed(0)
    np.random.seed(0)
    paddle.seed(0)
    entries = dict(global_config)
    settings = {name: dict(entry) for name, entry in entries.items() if isinstance(entry, dict)}
    yield
    global_config.clear()
    global_config.update(entries)
    for name, values in settings.items():
        entries[name].clear()
        entries[name].update(values)
    core.clear_executor_cache()


@pytest.fixture(scope="module", autouse=True)
def memory_given_back():
    """glibc keeps what a file's tests have freed, about a gigabyte: two workers at its peak would need ten."""
    yield
    if psutil.Process().memory_info().rss > COLLECT_BYTES:  # trainers hold themselves; to look for them takes 0.7 s
        gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def cheap_start(monkeypatch):
    """Parameters start from zeros: no time goes into random numbers that nobody looks at."""
    from paddle.nn import initializer

    zeros = initializer.Constant(0.0)
    for kind in ("Uniform", "Normal", "XavierUniform", "XavierNormal", "KaimingUniform", "KaimingNormal",
                 "TruncatedNormal"):
        monkeypatch.setattr(getattr(initializer, kind), "forward", lambda self, *args: zeros.forward(*args))


@pytest.fixture(scope="session")
def small_digits(tmp_path_factory):
    """Folder of a sample data set of 8 training and 4 validation images of 96 pixels."""
    from ppdet_ext.data import digit_pictures, sample

    root = tmp_path_factory.mktemp("data") / "dataset" / "digits"
    sample.make(root, digit_pictures.Spec(train=8, val=4, size=96))
    return root


@pytest.fixture
def log(caplog):
    """caplog that hears the package's and ppdet's loggers too, which do not propagate."""
    loggers = [logging.getLogger(name) for name in ("ppdet_ext", "ppdet.engine")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    yield caplog
    for logger in loggers:
        logger.removeHandler(caplog.handler)


@pytest.fixture
def tool(monkeypatch):
    """``tool("train")`` is the module tools/train.py."""
    monkeypatch.syspath_prepend(REPO / "tools")

    def load(name):
        spec = importlib.util.spec_from_file_location(f"tools_{name}", REPO / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    return load


@pytest.fixture
def tiny_config(tmp_path, small_digits):
    """Path of a config of a detector that trains an epoch in a few seconds; it writes to tmp_path/output/tiny."""
    path = tmp_path / "tiny.yml"
    path.write_text(TINY.format(configs=REPO / "configs", data=small_digits, output=tmp_path / "output"))
    return path
