# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Environments of their own for tests whose packages clash with the ones that run the tests."""
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from support.paths import REPO

INSTALL_SECONDS, TEST_SECONDS = 1200, 1500


def other_python(name, packages):
    """The Python that PPDET_EXT_<NAME>_PYTHON names, or of .venv-<name> in the repository, made on first use.

    The folder PPDET_EXT_VENVS may stand in the repository's place.

    Args:
        packages: what pip installs there; a change makes the environment anew, as does one of pyproject.toml if
            ``-e .`` is among them.
    """
    given = os.environ.get(f"PPDET_EXT_{name.upper()}_PYTHON")
    if given:
        return Path(given)
    folder, key = Path(os.environ.get("PPDET_EXT_VENVS", REPO)) / f".venv-{name}", _key(packages)
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists() or complete.read_text() != key:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, timeout=INSTALL_SECONDS)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, cwd=REPO,
                       timeout=INSTALL_SECONDS)
        complete.write_text(key)
    return python


def _key(packages):
    lines = list(packages)
    if "-e" in packages:
        lines.append(f"pyproject.toml {hashlib.sha256((REPO / 'pyproject.toml').read_bytes()).hexdigest()}")
    return "\n".join(lines)
