# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Runs exported models. Stands alone: copy this folder; it needs paddle, numpy, opencv and pyyaml, nothing else."""
from .backend import Options
from .compare import Difference, compare, compare_all
from .errors import DeployError
from .model import ExportedModel
from .predictor import Predictor, Timings

__all__ = ["DeployError", "Difference", "ExportedModel", "Options", "Predictor", "Timings", "compare", "compare_all"]
