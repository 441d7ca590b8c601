# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Weights from torch's world into Paddle's, and back: read (source), carry over (rules), load and report."""
from .layout_rules import RENAMES, to_paddle, to_torch
from .load_report import LoadReport, load_into
from .parity import compare_stages, relative_error
from .pretrained_weights import load_pretrained
from .source import Checkpoint, read

__all__ = ["RENAMES", "Checkpoint", "LoadReport", "compare_stages", "load_into", "load_pretrained", "read",
           "relative_error", "to_paddle", "to_torch"]
