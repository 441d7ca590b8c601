#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Write a data set (COCO, VOC, YOLO, CSV; a folder or its file) in another layout."""
from ppdet_ext.cli import run
from ppdet_ext.cli.convert_dataset import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
