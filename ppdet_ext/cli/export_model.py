# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Export a checkpoint (-o weights=FILE) for Paddle Inference, and to ONNX; PaddleDetection's export_model.py flags.

What is written is run first and compared with the checkpoint's model; where they differ nothing is written.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .. import setup
from ..config import flags
from ..scale import triton_repository


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = flags.config_parser(__doc__)
    parser.add_argument("--output_dir", default="output_inference", help="the model goes to a folder of the config's "
                        "name in it (default output_inference)")
    flags.add_switch(parser, "--onnx", "write model.onnx too, for onnxruntime and openvino (needs paddle2onnx)", False)
    parser.add_argument("--triton", metavar="REPOSITORY", help="put the model (its ONNX file, as --onnx writes it) "
                        "into a model repository of Triton Inference Server, too, as a new version")
    parser.add_argument("--triton_backend", choices=triton_repository.BACKENDS, default=triton_repository.DEFAULT,
                        help=f"what Triton runs it with (default {triton_repository.DEFAULT})")
    parser.add_argument("--verify_image", metavar="FILE", help="a picture to compare the exported model with the "
                        "checkpoint's on, beside a random one (default: a photograph that comes with scikit-image)")
    # the file is the same wherever it is made, and every machine has this one
    parser.set_defaults(device="cpu")
    args = parser.parse_args(argv)
    flags.require_others(parser, args, {"triton_backend": "triton"})
    return args


def main(argv: Sequence[str] | None = None) -> Path:
    """Export as the command line says. Returns the folder written."""
    args = parse_args(argv)
    setup()
    from ..engine.export import export_model
    from ..engine.trainer import Trainer
    from . import commands, prepare

    if args.triton:
        triton_repository.require(args.triton_backend)
    cfg = prepare.load_cfg(args, "test")
    weights = prepare.required_weights(cfg)
    trainer = Trainer(cfg, "test")
    trainer.load_weights(weights)
    folder = export_model(trainer, args.output_dir, args.onnx or bool(args.triton), args.verify_image)
    if args.triton:
        version = triton_repository.add_version(folder, Path(args.triton), args.triton_backend)
        print(f"for Triton: {version}")
    print(f"next: {commands.spelling('deploy')} --model_dir={folder} --image_file=IMAGE")
    return folder
