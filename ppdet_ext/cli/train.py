# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Train a detector; takes the flags of PaddleDetection's tools/train.py."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from .. import setup
from ..config import flags


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = flags.config_parser(__doc__)
    parser.add_argument("-r", "--resume", metavar="CHECKPOINT", help="go on with the run that wrote this checkpoint")
    parser.add_argument("--replay", metavar="FILE", help="run a step that a training kept (not_finite.safetensors) "
                        "again, and name the layer that is first not finite")
    flags.add_switch(parser, "--eval", "evaluate during training (also: validate: true in the config)")
    flags.add_switch(parser, "--amp", "automatic mixed precision (GPU)")
    flags.add_switch(parser, "--fleet", "accepted, changes nothing: several processes train together without it")
    flags.add_switch(parser, "--use_vdl", "record scalars for VisualDL")
    parser.add_argument("--vdl_log_dir", help="folder of the VisualDL record (default vdl_log_dir/scalar)")
    flags.add_switch(parser, "--use_wandb", "record to Weights & Biases")
    flags.add_switch(parser, "--enable_ce", "fix all random seeds to 0")
    flags.add_switch(parser, "--save_prediction_only", "evaluations write bbox.json and compute no AP")
    parser.add_argument("--profiler_options", metavar="KEY=VALUE;...", help="see ppdet/utils/profiler.py")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    args = parse_args(argv)
    setup()
    from ..engine.trainer import Trainer
    from ..registry.weights_wanted import without_pretrained
    from . import prepare

    cfg = prepare.load_cfg(args, "train")
    if args.replay:
        from ..engine.replay import replay
        with without_pretrained():
            print(replay(cfg, args.replay))
        return
    prepare.start_workers(cfg)
    if args.resume:
        with without_pretrained():
            trainer = Trainer(cfg, "train")
        trainer.resume_weights(args.resume)
    else:
        trainer = Trainer(cfg, "train")
        if cfg.get("pretrain_weights"):
            trainer.load_weights(cfg["pretrain_weights"])
    trainer.train(args.eval)
