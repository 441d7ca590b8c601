# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Write a data set (COCO, VOC, YOLO, CSV; a folder or its file) in another layout."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..config import flags

TARGETS = ("coco", "voc", "yolo")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", metavar="IN", help="the data set: its folder, or its .json, .yaml or .csv")
    parser.add_argument("output", metavar="OUT", help="a new or an empty folder")
    parser.add_argument("--to", choices=TARGETS, required=True, help="the layout to write")
    parser.add_argument("--copy", action="store_true", help="copy the pictures; by default they are hard links, which "
                        "take no room, and copies where links are impossible")
    parser.add_argument("--split", action="store_true", help="divide a set that is not divided into train and val, as "
                        "a training does")
    flags.add_verbose(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Convert as the command line says."""
    args = parse_args(argv)
    from ..datasets import conversion
    print("\n".join(conversion.convert(args.input, args.output, args.to, args.copy, args.split)))
