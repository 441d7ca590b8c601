#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Draw a grid of pictures as training sees them: after TrainReader's transforms, with boxes and class names."""
from ppdet_ext.cli import run
from ppdet_ext.cli.browse_dataset import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
