# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Importing changes nothing but the registries: not Paddle's or ppdet's functions, the environment or malloc."""
import json
import os
import subprocess
import sys

import pytest

ROOMS = ("detector", "backbones", "backbones.modules", "registry", "data.reading", "engine.trainer",
         "kernels.pointwise", "kernels.sync_batch_norm", "patches.ledger")
WATCH = """
import ctypes, importlib, json, os, pkgutil, sys

def functions():
    found = {}
    for name, module in sorted(sys.modules.items()):
        if module is None or name.split(".")[0] not in ("paddle", "ppdet"):
            continue
        for key, value in list(vars(module).items()):
            if callable(value) and not key.startswith("__"):
                found[f"{name}.{key}"] = id(value)
            if isinstance(value, type) and str(getattr(value, '__module__', '')).split(".")[0] in ("paddle", "ppdet"):
                found.update({f"{name}.{key}.{k}": id(v) for k, v in vars(value).items() if callable(v)
                              or isinstance(v, (classmethod, staticmethod))})
    return found

def changed(before):
    now = functions()
    return sorted(name for name, value in before.items() if now.get(name) != value)
"""


def python(code, **environment):
    """The JSON that code prints last in a new interpreter."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", WATCH + code], env={**os.environ, **environment},
                          text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_package_alone_loads_nothing():
    assert python("import ppdet_ext, ppdet_ext.patches.ledger as ledger, ppdet_ext.kernels\n"
                  "rows = ledger.rows()\n"
                  "print(json.dumps([m for m in ('paddle', 'ppdet', 'numpy', 'cv2') if m in sys.modules]))") == []


def test_what_it_offers():
    assert python("import ppdet_ext\n"
                  "names = [name for name in ppdet_ext.__all__ if getattr(ppdet_ext, name) is None]\n"
                  "try:\n"
                  "    ppdet_ext.no_such_name\n"
                  "except AttributeError as error:\n"
                  "    names.append(str(error))\n"
                  "print(json.dumps([*names, ppdet_ext.__version__]))") == [
        "module 'ppdet_ext' has no attribute 'no_such_name'", "0.1.0"]


@pytest.mark.parametrize("first", [True, False])
def test_importing_rooms_changes_no_function_and_no_variable(first):
    """Paddle and ppdet loaded first, or by the rooms."""
    load = "import paddle, ppdet.engine, ppdet.data, ppdet.modeling, ppdet.optimizer\n"
    code = (f"{load if first else ''}"
            "import paddle; environment, before = dict(os.environ), functions()\n"
            "import ppdet_ext, rt_detr_paddle\n"
            f"for room in {ROOMS!r}:\n"
            "    importlib.import_module('ppdet_ext.' + room)\n"
            "print(json.dumps([changed(before), dict(os.environ) == environment, len(before)]))")
    differing, same, count = python(code)
    # ppdet's registry notes which class a name means; nothing else moves
    assert differing == [] and same and count > 2000


def test_setup_changes_what_the_ledger_says_and_undo_takes_it_back():
    code = ("import paddle, ppdet.engine, ppdet.data, ppdet.modeling, ppdet.optimizer\n"
            "before = functions()\n"
            "import ppdet_ext; ppdet_ext.setup(); ppdet_ext.setup()\n"
            "from ppdet_ext import kernels; from ppdet_ext.patches import ledger\n"
            "inside = changed(before)\n"
            "ledger.undo()\n"
            "print(json.dumps([inside, changed(before)]))")
    inside, after = python(code)
    assert "ppdet.data.transform.operators.Pad.apply_image" in inside and after == []
    assert not [name for name in inside if name.startswith("paddle.nn.functional")]


def test_importing_leaves_malloc_alone():
    """mallopt is called by setup() only."""
    code = ("calls = []\n"
            "load = ctypes.CDLL\n"
            "def watched(name, *args, **kwargs):\n"
            "    if name and 'libc.so' in str(name):\n"
            "        calls.append(str(name))\n"
            "    return load(name, *args, **kwargs)\n"
            "ctypes.CDLL = watched\n"
            "import ppdet_ext, ppdet_ext.detector, ppdet_ext.startup.environment\n"
            "before = len(calls)\n"
            "ppdet_ext.setup()\n"
            "print(json.dumps([before, len(calls) > before]))")
    unset = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", WATCH + code], env=unset, text=True,
                          capture_output=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, sys.platform == "linux"], done.stderr
