# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Starting up loads nothing heavy that is not used: beyond what ppdet brings itself, and nothing at all for --help."""
import json
import subprocess
import sys

import pytest
from support.paths import REPO

HEAVY = ("IPython", "jax", "matplotlib", "onnx", "onnxruntime", "openvino", "paddle2onnx", "pandas", "PIL", "rich",
         "scipy", "skimage", "sklearn", "tensorflow", "timm", "torch", "torchvision", "tqdm.notebook", "transformers",
         "visualdl", "wandb", "x2paddle")
WATCHED = f"import json, runpy, sys\nheavy = set({HEAVY!r})\n"


def loaded(code):
    """What ``code``, run in a new interpreter, prints last: a JSON list, as a set."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", WATCHED + code], cwd=REPO, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_and_training_bring_nothing_heavy_beyond_ppdet():
    added = loaded("import ppdet\n"
                   "before = set(sys.modules)\n"
                   "import ppdet_ext; ppdet_ext.setup()\n"
                   "import rt_detr_paddle, ppdet_ext.cli, ppdet_ext.engine.trainer\n"
                   "print(json.dumps(sorted(heavy & set(sys.modules) - before)))")
    assert added == set()


@pytest.mark.parametrize("tool", ["train", "infer", "eval", "export_model"])
def test_help_and_mistyped_flags_load_neither_paddle_nor_numpy(tool):
    for flags, status in ((["--help"], 0), (["-c", "a.yml", "--no_such_flag"], 2)):
        there = loaded(f"sys.argv = {['tool', *flags]!r}\n"
                       f"sys.path.insert(0, 'tools')\n"
                       "try:\n"
                       f"    runpy.run_path('tools/{tool}.py', run_name='__main__')\n"
                       "except SystemExit as end:\n"
                       f"    assert end.code == {status}, end.code\n"
                       "print(json.dumps(sorted((heavy | {'paddle', 'ppdet', 'numpy', 'cv2', 'yaml'})"
                       " & set(sys.modules))))")
        assert there == set()
