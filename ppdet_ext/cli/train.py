# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Train a detector; takes the flags of PaddleDetection's tools/train.py."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from .. import setup
from ..config import flags
from ..errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = flags.config_parser(__doc__)
    flags.add_data_flag(parser)
    parser.add_argument("-r", "--resume", metavar="CHECKPOINT", help="go on with the run that wrote this checkpoint; "
                        "auto: with the newest of this config's folder, or from the beginning where there is none")
    parser.add_argument("--replay", metavar="FILE", help="run a step that a training kept (not_finite.safetensors) "
                        "again, and name the layer that is first not finite")
    flags.add_switch(parser, "--eval", "evaluate during training (also: validate: true in the config)")
    parser.add_argument("--quick", nargs="?", type=_steps, const=0, metavar="STEPS", help="no real run: learn 16 "
                        "images by heart in minutes and say whether the config can learn, exit code 0 or 1")
    flags.add_switch(parser, "--amp", "automatic mixed precision (GPU)")
    flags.add_switch(parser, "--fleet", "accepted, changes nothing: several processes train together without it")
    flags.add_switch(parser, "--use_vdl", "record scalars for VisualDL")
    parser.add_argument("--vdl_log_dir", help="folder of the VisualDL record (default vdl_log_dir/scalar)")
    flags.add_switch(parser, "--use_wandb", "record to Weights & Biases")
    flags.add_switch(parser, "--use_tensorboard", "record scalars for TensorBoard")
    flags.add_switch(parser, "--use_mlflow", "record to MLflow")
    flags.add_progress(parser)
    flags.add_switch(parser, "--enable_ce", "fix all random seeds to 0")
    flags.add_switch(parser, "--save_prediction_only", "evaluations write bbox.json and compute no AP")
    parser.add_argument("--profiler_options", metavar="KEY=VALUE;...", help="see ppdet/utils/profiler.py")
    return parser.parse_args(argv)


def _steps(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of steps")
    return int(text)


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    args = parse_args(argv)
    if args.quick is not None and args.resume:
        raise UserError("--quick goes on with no run: leave out -r")
    setup()
    from ..engine.trainer import Trainer
    from ..registry.weights_wanted import without_pretrained
    from ..swap import after_swap, start_swapped
    from . import prepare

    cfg = prepare.load_cfg(args, "train")
    if args.quick is not None:
        _quick(cfg, args.quick)
        return
    if args.replay:
        from ..engine.replay import replay
        with without_pretrained():
            print(replay(cfg, args.replay))
        return
    prepare.start_workers(cfg)
    checkpoint = prepare.newest_checkpoint(cfg) if args.resume == prepare.AUTO else args.resume
    if args.resume:
        prepare.require_same_checkpoint(checkpoint)
    if checkpoint:
        with without_pretrained():
            trainer = Trainer(cfg, "train", after_swap.more_pictures(cfg))
        trainer.resume_weights(checkpoint)
        after_swap.attach(trainer, None)
    else:
        trainer = Trainer(cfg, "train", after_swap.more_pictures(cfg))
        start_swapped.start(trainer)
    trainer.train(args.eval)


def _quick(cfg: dict[str, Any], steps: int) -> None:
    """The verdict on a config; ends the process with 1 where it fails. ``steps`` 0: as many as are usual."""
    import dataclasses
    import functools

    from ..quick import quick_run, quick_setup
    from ..swap import start_swapped
    from . import prepare

    cfg["seed"] = cfg.get("seed") or 0
    prepare.start_workers(cfg)
    recipe = quick_setup.Recipe()
    recipe = dataclasses.replace(recipe, steps=steps) if steps else recipe
    if not quick_run.run(cfg, recipe, functools.partial(start_swapped.start, quick=True)).passed:
        sys.exit(quick_run.FAILED)
