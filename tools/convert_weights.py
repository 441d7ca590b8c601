#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Convert weights: a backbone's, a whole detector's, an ONNX file; ``--help`` names the three commands."""
from ppdet_ext.cli import run
from ppdet_ext.cli.convert_weights import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
