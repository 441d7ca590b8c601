# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Write the sample data set (handwritten digits over photographs, COCO format) to dataset/digits."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..config import flags
from ..data import digit_pictures, sample
from ..files import atomic_path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    spec = digit_pictures.Spec()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--root", default=sample.ROOT, help="folder to write")
    parser.add_argument("--train", type=int, default=spec.train, help="number of training images")
    parser.add_argument("--val", type=int, default=spec.val, help="number of validation images")
    parser.add_argument("--size", type=int, default=spec.size, help="longer side of the images, in pixels")
    parser.add_argument("--seed", type=int, default=spec.seed, help="the same seed makes the same files")
    parser.add_argument("--difficulty", choices=list(digit_pictures.DIFFICULTIES), default=spec.difficulty)
    parser.add_argument("--digit", type=float, nargs=2, metavar=("LOW", "HIGH"),
                        help="height of the digits as fractions of the shorter side (default: the difficulty's)")
    parser.add_argument("--force", action="store_true", help="make it again even where it is complete")
    parser.add_argument("--preview", metavar="PNG", help="also draw a grid of samples with their boxes")
    flags.add_verbose(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the data set as the command line says."""
    args = parse_args(argv)
    spec = digit_pictures.Spec(args.train, args.val, args.size, args.seed, args.difficulty,
                               args.digit and tuple(args.digit))
    made = sample.make(args.root, spec, force=args.force)
    print(f"{'wrote' if made else 'already complete:'} {args.root} ({args.train} train, {args.val} val images)")
    if args.preview:
        from PIL import Image
        with atomic_path(args.preview) as path:
            Image.fromarray(sample.preview(args.root)).quantize(256).save(path, optimize=True)
        print(f"wrote {args.preview}")
