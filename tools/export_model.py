#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Export a checkpoint (-o weights=FILE) for Paddle Inference, and to ONNX; PaddleDetection's export_model.py flags."""
from ppdet_ext.cli import run
from ppdet_ext.cli.export_model import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
