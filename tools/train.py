#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Train a detector; takes the flags of PaddleDetection's tools/train.py."""
from ppdet_ext import cli
from ppdet_ext.backbones.modules import without_pretrained
from ppdet_ext.engine.trainer import Trainer


def parse_args(argv=None):
    parser = cli.config_parser(__doc__)
    parser.add_argument("-r", "--resume", metavar="CHECKPOINT", help="go on with the run that wrote this checkpoint")
    cli.add_switch(parser, "--eval", "evaluate during training (also: validate: true in the config)")
    cli.add_switch(parser, "--amp", "automatic mixed precision (GPU)")
    cli.add_switch(parser, "--fleet", "distributed training through fleet")
    cli.add_switch(parser, "--use_vdl", "record scalars for VisualDL")
    parser.add_argument("--vdl_log_dir", help="folder of the VisualDL record (default vdl_log_dir/scalar)")
    cli.add_switch(parser, "--use_wandb", "record to Weights & Biases")
    cli.add_switch(parser, "--enable_ce", "fix all random seeds to 0")
    cli.add_switch(parser, "--save_prediction_only", "evaluations write bbox.json and compute no AP")
    parser.add_argument("--profiler_options", metavar="KEY=VALUE;...", help="see ppdet/utils/profiler.py")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    cfg = cli.load_cfg(args, "train")
    cli.start_workers(cfg)
    if args.resume:
        with without_pretrained():
            trainer = Trainer(cfg, "train")
        trainer.resume_weights(args.resume)
    else:
        trainer = Trainer(cfg, "train")
        if cfg.get("pretrain_weights"):
            trainer.load_weights(cfg["pretrain_weights"])
    trainer.train(args.eval)


if __name__ == "__main__":
    cli.run(main)
