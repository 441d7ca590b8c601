#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Train a detector; takes the flags of PaddleDetection's tools/train.py."""
from ppdet_ext.cli import run
from ppdet_ext.cli.train import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
