# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A Trainer for a config file, as the tools make it."""
from ppdet_ext import cli
from ppdet_ext.engine.trainer import Trainer


def trainer_of(config, options=(), mode="train"):
    """A Trainer in a mode ('train', 'eval', 'test') for the config file, with options as after -o."""
    args = cli.config_parser("").parse_args(["-c", str(config), "-o", *options])
    return Trainer(cli.load_cfg(args, mode), mode)
