#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A page to look at exported models: drop a picture, move the threshold, two models side by side."""
from ppdet_ext.cli import run
from ppdet_ext.cli.demo import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
