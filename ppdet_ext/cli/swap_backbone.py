# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Put another backbone under a trained detector, which keeps what it learnt after the backbone; nothing is trained.

swap --from output/old/best_model.pdparams -c new.yml -o swapped.pdparams
"""
from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import Any

from .. import setup
from ..config import flags
from ..errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="checkpoint", required=True, metavar="CHECKPOINT", help="the trained detector: "
                        "a file of PaddleDetection or lyuwenyu/RT-DETR, a folder of Hugging Face's, or a URL")
    parser.add_argument("--from_config", metavar="CONFIG", help="the config that it was trained with (default: the one "
                        "that a training writes beside it)")
    parser.add_argument("-c", "--config", required=True, help="config of the new detector (.yml), or a name in the "
                        "package's configs/")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.pdparams", help="the new detector's weights")
    parser.add_argument("--opt", nargs="*", action="extend", default=[], metavar="KEY=VALUE",
                        help="config values to override, -o of the other tools")
    parser.add_argument("--import", dest="imports", action="append", default=[], metavar="FILE.py",
                        help="runs this file, for the @register classes that the config names; give only files that "
                        "you trust")
    flags.add_switch(parser, "--keep_backbone", "whether the checkpoint's backbone stays (default: it does where the "
                     "new one is the same)")
    parser.add_argument("--backbone_weights", metavar="FILE", help="the new backbone's own weights, where it does not "
                        "load them itself (default: the config's pretrain_weights)")
    flags.add_verbose(parser)
    # nothing is computed
    parser.set_defaults(device="cpu")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Swap as the command line says.

    Raises:
        UserError: what the user can mend; nothing is written then.
    """
    args = parse_args(argv)
    setup()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from ..swap import swapped_file
    from . import commands, prepare

    swapped_file.check_output(args.output, args.checkpoint)
    cfg = prepare.load_cfg(args, "test")
    prepare.start_workers(cfg)
    report = swapped_file.make(cfg, args.checkpoint, args.output, _settings(args, cfg))
    print(f"{report}\nwritten: {args.output}")
    print(f"next: {commands.spelling('train')} -c {args.config} -o pretrain_weights={args.output}")


def _settings(args: argparse.Namespace, cfg: dict[str, Any]) -> dict[str, Any]:
    """Those of the config's ``swap_backbone``, and over them the flags."""
    from ..config import swap_keys

    if cfg.get(swap_keys.KEY) is False:
        raise UserError(f"the config says {swap_keys.KEY}: false; take that out")
    given = {"from_config": args.from_config, "keep_backbone": args.keep_backbone,
             "backbone_weights": args.backbone_weights}
    settings = swap_keys.filled(cfg.get(swap_keys.KEY))
    settings["backbone_weights"] = settings["backbone_weights"] or cfg.get("pretrain_weights") or None
    return {**settings, **{key: value for key, value in given.items() if value is not None}}
