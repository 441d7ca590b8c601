#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One page of the runs in a folder: sortable by AP, time and memory, with a link to each run's report.html."""
from ppdet_ext.cli import run
from ppdet_ext.cli.browse_runs import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
