# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Figures and pages out of plain data (dicts, lists, files), and errors of detections by kind. Knows no Paddle."""
