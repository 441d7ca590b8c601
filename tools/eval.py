#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""AP of a checkpoint (-o weights=FILE) or of an exported model (--model_dir); PaddleDetection's tools/eval.py flags."""
from ppdet_ext.cli import run
from ppdet_ext.cli.eval import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
