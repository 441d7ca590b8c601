# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""tools/deploy_infer.py and quantize_model.py with nothing of the package beside them but the folder deploy/."""
import shutil
import subprocess
import sys

import pytest
from support.paths import REPO, TOOLS

BLOCKED = ("ppdet_ext", "ppdet", "paddle", "torch")


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A folder with tools/deploy_infer.py, tools/quantize_model.py and ppdet_ext/deploy/ only."""
    folder = tmp_path_factory.mktemp("copied")
    (folder / "tools").mkdir()
    for name in ("deploy_infer.py", "quantize_model.py"):
        shutil.copy(TOOLS / name, folder / "tools" / name)
    shutil.copytree(REPO / "ppdet_ext" / "deploy", folder / "ppdet_ext" / "deploy")
    return folder


@pytest.mark.parametrize("tool, flags, code, words", [
    ("deploy_infer", ["--help"], 0, "--image_file IMAGE_FILE"),
    ("deploy_infer", ["--model_dir", "none", "--image_file", "a.jpg"], 2, "error: --model_dir: there is no 'none'"),
    ("quantize_model", ["--help"], 0, "--image_dir IMAGE_DIR"),
    ("quantize_model", ["--model_dir", "none", "--image_dir", "none"], 2, "error: "),
])
def test_a_copied_deploy_folder_suffices(copied, tmp_path, tool, flags, code, words):
    script = (f"import sys, runpy; sys.modules.update(dict.fromkeys({BLOCKED})); sys.argv = sys.argv[1:]; "
              "sys.path.insert(0, sys.argv.pop()); runpy.run_path(sys.argv[0], run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", script, copied / "tools" / f"{tool}.py", *flags, copied / "tools"],
                          cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr and "Traceback" not in done.stderr
