# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Draw a grid of pictures as training sees them: after TrainReader's transforms, with boxes and class names."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .. import setup
from ..config import flags


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = flags.config_parser(__doc__)
    flags.add_data_flag(parser)
    add = parser.add_argument
    add("--count", type=flags.above_zero, default=16, help="pictures, from all over the training set (default 16)")
    add("--epoch", type=int, default=0, metavar="N", help="as in this epoch, from 0: some transforms run in some "
        "epochs only (default 0)")
    add("--output", default="output/browse_data.png", metavar="FILE", help="the picture to write (default "
        "output/browse_data.png)")
    parser.set_defaults(device="cpu")
    args = parser.parse_args(argv)
    if args.epoch < 0:
        parser.error("--epoch counts from 0")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Draw as the command line says."""
    args = parse_args(argv)
    setup()
    from ppdet.core.workspace import create

    from ..data import normalization
    from ..data.reading import parse_once
    from ..datasets import browse
    from ..deploy import media
    from ..errors import UserError, printable
    from . import prepare

    cfg = prepare.load_cfg(args, "train")
    prepare.start_workers(cfg)  # the seed, where the config has one
    dataset = create("TrainDataset")()
    parse_once(dataset)
    dataset.set_epoch(args.epoch)
    if not dataset.roidbs:
        raise UserError("TrainDataset has no pictures")
    normalised = normalization.used(cfg, "TrainReader") or ((0.0,) * 3, (1 / 255,) * 3)
    pictures = list(browse.read(create("TrainReader"), dataset, args.count, normalised))
    names = {number: printable(name, 30) for name, number in dataset.cname2cid.items()}
    media.write_image(Path(args.output), browse.grid(pictures, names))
    boxes = sum(len(one.boxes) for one in pictures)
    print(f"{len(pictures)} of {len(dataset.roidbs):,} training pictures, {boxes} boxes: {args.output}")
