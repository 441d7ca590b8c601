# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""ppdet_ext/config/flags.py without the package around it, which loads Paddle when it is imported."""
import importlib.util
from pathlib import Path


def load(name):
    """A module of ppdet_ext that needs nothing of the others."""
    path = Path(__file__).resolve().parents[1] / "ppdet_ext" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


flags = load("config/flags")
