#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Hold a backbone against what neck, weights, training and export need: a name, a class of your own, or a config."""
from ppdet_ext.cli import run
from ppdet_ext.cli.verify import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
