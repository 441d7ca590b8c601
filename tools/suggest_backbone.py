#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Suggest backbones that are like one: from the catalogue, within limits, with reasons and the YAML to paste."""
from ppdet_ext.cli import run
from ppdet_ext.cli.suggest_backbone import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
