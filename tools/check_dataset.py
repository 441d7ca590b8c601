#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Look a data set over before it is trained on: pictures, boxes, copies, classes, splits, what fits the detector."""
from ppdet_ext.cli import run
from ppdet_ext.cli.check_dataset import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
