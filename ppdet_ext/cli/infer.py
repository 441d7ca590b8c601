# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detect on pictures with a checkpoint (-o weights=FILE); takes the flags of PaddleDetection's tools/infer.py."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .. import setup
from ..config import flags


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = flags.config_parser(__doc__)
    flags.add_data_flag(parser, "; without --infer_img and --infer_dir, its val split's pictures are taken")
    parser.add_argument("--infer_img", metavar="FILE", help="a picture; goes before --infer_dir")
    parser.add_argument("--infer_dir", metavar="FOLDER", help="a folder of pictures")
    parser.add_argument("--infer_list", metavar="FILE", help="names in --infer_dir to take, one a line")
    parser.add_argument("--output_dir", default="output", help="where results go (default output)")
    parser.add_argument("--draw_threshold", type=float, default=0.5, help="least score that is drawn (default 0.5)")
    parser.add_argument("--visualize", nargs="?", const=True, default=True, type=flags.looks, metavar="BOOL|WHAT",
                        help="write pictures with boxes (default true); with what the detector looked at beside them: "
                        f"some of {','.join(flags.LOOKS)}")
    flags.add_switch(parser, "--save_results", "write bbox.json to --output_dir", default=False)
    parser.add_argument("--save_threshold", type=float, default=0.5, help="least score in bbox.json (default 0.5)")
    flags.add_switch(parser, "--use_vdl", "record the pictures for VisualDL")
    parser.add_argument("--vdl_log_dir", help="folder of the VisualDL record (default vdl_log_dir/image)")
    flags.add_slice_flags(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> list[dict]:
    """Detect as the command line says.

    Raises:
        SystemExit: some pictures failed (code SOME_FAILED); the others are done.
    """
    args = parse_args(argv)
    looks = () if isinstance(args.visualize, bool) else args.visualize
    setup()
    from ..data.checks import readable_images
    from ..deploy.session import SOME_FAILED
    from ..engine.predict import find_images, predict, skip, transforms
    from ..engine.trainer import Trainer
    from . import own_data, prepare

    named = None if args.data and not (args.infer_img or args.infer_dir) else \
        find_images(args.infer_img, args.infer_dir, args.infer_list)
    cfg = prepare.load_cfg(args, "test")
    images = own_data.evaluated_pictures(cfg) if named is None else named
    cfg.setdefault("vdl_log_dir", "vdl_log_dir/image")
    weights = prepare.required_weights(cfg)
    trainer = Trainer(cfg, "test")
    trainer.load_weights(weights)
    good = readable_images(images, None if args.slice_infer else transforms())
    failed = set(images) - set(good)
    results = predict(trainer, good, draw_threshold=args.draw_threshold, output_dir=args.output_dir,
                      save_results=args.save_results, visualize=bool(args.visualize), looks=looks,
                      save_threshold=args.save_threshold, slices=args if args.slice_infer else None,
                      on_failure=lambda path, error: failed.add(skip(path, error)))
    if failed:
        sys.exit(SOME_FAILED)
    return results
