# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Runs exported models. Stands alone: copy this folder; it needs numpy, opencv, pyyaml and one engine's package.

Pictures that are not JPEG, PNG or BMP need Pillow, too.
"""
from .compare_detections import Difference, compare, compare_all
from .deploy_error import DeployError
from .engines import ENGINES, Options
from .exported_model import ExportedModel
from .predictor import Predictor, Timings

__all__ = ["ENGINES", "DeployError", "Difference", "ExportedModel", "Options", "Predictor", "Timings", "compare",
           "compare_all"]
