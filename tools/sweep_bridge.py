#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Take timm's and torchvision's networks through the bridge, hold each against its original, write the table."""
from ppdet_ext.cli import run
from ppdet_ext.cli.sweep_bridge import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
