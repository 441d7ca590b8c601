# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Importing: needs no torch, sets the runtime but not over the user, says each environment mistake in one line."""
import os
import platform
import subprocess
import sys
import types

import numpy as np
import pytest

from ppdet_ext.errors import UserError
from ppdet_ext.startup import environment, requirements


def python(code, **environment):
    """Run code in a new interpreter; returns (exit status, what it printed)."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env={**os.environ, **environment})
    return done.returncode, done.stdout


def test_import_needs_no_torch_and_registers_everything():
    status, out = python(
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'timm', 'torchvision', 'transformers', 'x2paddle']))\n"
        "import ppdet_ext; ppdet_ext.setup(); import rt_detr_paddle\n"
        "from ppdet.core.workspace import global_config as g\n"
        "names = ['DETR', 'HybridEncoder', 'RTDETRTransformer', 'DINOHead', 'DINOLoss', 'HungarianMatcher',\n"
        "         'DETRPostProcess', 'TransformerLayer', 'TimmBackbone', 'TorchvisionBackbone', 'ResNet']\n"
        "print(sorted({g[n].pymodule.__name__.split('.')[0] for n in names}))")
    assert status == 0 and out.strip().endswith("['ppdet_ext']"), out


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's heap")
def test_freed_memory_is_kept_until_it_is_given_back():
    """In a new process, blocks of 100 MB each of which small things that stay lie between."""
    status, out = python(
        f"import runpy\nruntime = runpy.run_path({environment.__file__!r})\nruntime['setup']()\n"
        "def held():\n"
        "    with open('/proc/self/status') as file:\n"
        "        return int(next(line for line in file if line.startswith('VmRSS')).split()[1]) // 1024\n"
        "blocks, small = [], []\n"
        "for _ in range(3):\n"
        "    blocks.append(bytearray(100 * 2**20))\n"
        "    small.append(bytearray(2**15))\n"
        "blocks.clear()\n"
        "before = held()\n"
        "runtime['give_back_freed_memory']()\n"
        "print(before - held() > 250, before > 300)")
    assert (status, out.strip()) == (0, "True True"), out


def test_runtime_sets_threads_but_not_over_the_users():
    code = (f"import runpy, os; runpy.run_path({environment.__file__!r})['setup']()\n"
            "print(os.environ['OMP_NUM_THREADS'])")
    unset = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=unset, text=True, capture_output=True)
    assert done.stdout.strip() == str(len(os.sched_getaffinity(0)))
    assert python(code, OMP_NUM_THREADS="7") == (0, "7\n")


@pytest.mark.slow
def test_paddle_imported_first_is_said():
    unset = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")}
    for code, said in (("import paddle, ppdet_ext", True), ("import ppdet_ext", False)):
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code + "; ppdet_ext.setup()"], env=unset,
                              text=True, capture_output=True)
        assert done.returncode == 0
        assert ("Paddle was imported before ppdet_ext.setup()" in done.stdout + done.stderr) == said


def test_libraries_that_opencv_misses():
    def load(name):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
        return types.SimpleNamespace(__version__="1.23.5")

    with pytest.raises(UserError, match="libGL.so.1.*apt-get install libgl1"):
        requirements.check_environment(load=load)


def test_instruction_set_for_amd_only(monkeypatch):
    monkeypatch.setattr(environment, "cpu_name", lambda: "vendor_id : AuthenticAMD")
    assert environment.defaults()["MKL_DEBUG_CPU_TYPE"] == "5"
    monkeypatch.setattr(environment, "cpu_name", lambda: "vendor_id : GenuineIntel")
    assert "MKL_DEBUG_CPU_TYPE" not in environment.defaults()


def test_wrong_python():
    with pytest.raises(UserError, match="Python 3.12 is not supported.*3.9 to 3.11"):
        requirements.check_environment(version=(3, 12, 1))


@pytest.mark.parametrize("missing, words", [
    ("paddle", r'pip install "ppdet-ext\[cpu\]"'), ("sklearn", "pip install scikit-learn"),
    ("ppdet", "pip install paddledet==2.6.0"), ("pkg_resources", r'pip install "setuptools<81"')])
def test_missing_package(missing, words):
    with pytest.raises(UserError, match=f"'{missing}' is missing.*{words}"):
        requirements.check_environment(find=lambda name: None if name == missing else object())


def test_numpy_too_new_for_opencv():
    def load(name):
        if name == "numpy":
            return types.SimpleNamespace(__version__="2.4.6")
        raise ImportError("numpy.core.multiarray failed to import\nmore lines")

    words = r'OpenCV does not load with numpy 2.4.6 \(numpy.core.*\); .*"numpy<1.24"'
    with pytest.raises(UserError, match=words) as error:
        requirements.check_environment(load=load)
    assert "\n" not in str(error.value)


def test_a_mistake_while_importing_is_one_line():
    status, out = python("import importlib.util as u\nfind = u.find_spec\n"
                         "u.find_spec = lambda name, *a: None if name == 'sklearn' else find(name, *a)\n"
                         "import ppdet_ext; ppdet_ext.setup()")
    assert status == 2
    assert [line for line in out.splitlines() if line] == [
        "error: the package 'sklearn' is missing: paddledet imports it without asking for it; install it with pip "
        "install scikit-learn"]


class TestPatches:
    def test_prob_of_transforms(self):
        from ppdet.data import transform

        sample = {"image": np.zeros((8, 8, 3), "uint8")}
        assert (transform.RandomDistort(prob=0.0).apply(dict(sample))["image"] == 0).all()
        distorted = transform.RandomDistort(brightness=[20, 30, 0.0], prob=1.0).apply(dict(sample))["image"]
        assert (distorted > 0).any()

    def test_ema_keeps_frozen_parameters(self):
        import paddle
        from ppdet.optimizer import ModelEMA

        net = paddle.nn.Linear(2, 2)
        net.bias.stop_gradient = True
        net.bias.set_value(paddle.ones([2]) * 3)
        ema = ModelEMA(net, decay=0.5, ema_decay_type="normal", ema_filter_no_grad=True)
        ema.update()
        averaged = ema.apply()
        assert averaged["bias"].numpy().tolist() == [3, 3]
        assert (averaged["weight"] - net.weight).abs().max() < 1e-6


def test_threads_are_shared_among_neighbours(monkeypatch):
    monkeypatch.delenv("PADDLE_LOCAL_SIZE", raising=False)
    cores = int(environment.defaults()["OMP_NUM_THREADS"])
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "2")
    assert environment.defaults()["OMP_NUM_THREADS"] == str(max(cores // 2, 1))
    given = {"OMP_NUM_THREADS": "2", "PADDLE_LOCAL_SIZE": "2", "MALLOC_ARENA_MAX": "8"}
    monkeypatch.setattr(environment.os, "environ", dict(given))
    assert "OMP_NUM_THREADS" not in environment.setup()
    assert environment.os.environ["OMP_NUM_THREADS"] == "2"  # the user's own
