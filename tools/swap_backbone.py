#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Put another backbone under a trained detector, which keeps what it learnt after the backbone."""
from ppdet_ext.cli import run
from ppdet_ext.cli.swap_backbone import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
