#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detect on many pictures with an exported model, on this machine's cores or a Ray cluster; a killed job goes on."""
from ppdet_ext.cli import run
from ppdet_ext.cli.batch_infer import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
