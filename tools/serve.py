#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A server of exported models: pictures by HTTP, boxes as JSON, by Ray Serve."""
from ppdet_ext.cli import run
from ppdet_ext.cli.serve import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
