# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Weights from torch's world into Paddle's, and back.

source (where a file is) · hub_cache, download · readers, safe_pickle, torch_file, foreign_objects, shards, mapped (its
content) · unwrap (the state in it) · author_names, timm_renaming, layout_rules, resize_parameters (carried over)
load_report (into a layer, and what fitted) · pretrained_weights (all)
convert_backbone, backbone_to_torch, verify_backbone, parity (for the command) · writers · metadata
"""
from .layout_rules import RENAMES, to_paddle, to_torch
from .load_report import LoadReport, load_into
from .parity import compare_stages, relative_error
from .pretrained_weights import load_pretrained
from .source import Checkpoint, read

__all__ = ["RENAMES", "Checkpoint", "LoadReport", "compare_stages", "load_into", "load_pretrained", "read",
           "relative_error", "to_paddle", "to_torch"]
