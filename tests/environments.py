# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Environments of their own for tests whose packages clash with the ones that run the tests."""
import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


def other_python(name, packages):
    """The Python that PPDET_EXT_<NAME>_PYTHON names, or of .venv-<name> in the repository, made on first use.

    Args:
        packages: what pip installs there; a change makes the environment anew.
    """
    given = os.environ.get(f"PPDET_EXT_{name.upper()}_PYTHON")
    if given:
        return Path(given)
    folder = REPO / f".venv-{name}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists() or complete.read_text() != "\n".join(packages):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, cwd=REPO)
        complete.write_text("\n".join(packages))
    return python
