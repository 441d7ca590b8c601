#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Write the sample data set (handwritten digits over photographs, COCO format) to dataset/digits."""
from ppdet_ext.cli import run
from ppdet_ext.cli.make_sample_dataset import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
