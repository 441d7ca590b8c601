#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Compare backbones under one detector: size, operations, latency, memory, accuracy of their weights, licence."""
from ppdet_ext.cli import run
from ppdet_ext.cli.compare_backbones import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
