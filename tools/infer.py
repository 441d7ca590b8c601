#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detect on pictures with a checkpoint (-o weights=FILE); takes the flags of PaddleDetection's tools/infer.py."""
from ppdet_ext.cli import run
from ppdet_ext.cli.infer import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
