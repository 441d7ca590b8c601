# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detect on many pictures with an exported model, on this machine's cores or a Ray cluster; a killed job goes on.

ppdet-ext batch --model_dir output_inference/a --input PICTURES --output RESULTS
Needs Ray: pip install 'ppdet-ext[ray]'. The same command again goes on where the job stopped.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..config import flags
from ..deploy import command_line
from ..startup import environment

FORMATS = ("coco", "parquet")


def _at_least_one(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 999999, not '{text[:80]}'")
    return int(text)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = command_line.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_verbose(parser)
    add = parser.add_argument
    add("--model_dir", required=True, help="folder written by tools/export_model.py, or an .onnx file in it")
    add("--input", required=True, help="a folder of pictures (at any depth), a text file with a path in each line, or "
        "parquet with a column of paths or of bytes")
    add("--output", required=True, metavar="FOLDER", help="where results go; the same command with the same folder "
        "goes on")
    add("--format", choices=FORMATS, default="coco", help="coco: bbox.json and images.json; parquet: a file for each "
        "shard (default coco)")
    add("--threshold", type=command_line.share, default=0.5, help="least score that is kept; 0 for AP (default 0.5)")
    add("--anno_file", metavar="COCO", help="a COCO file whose numbers of images and categories are taken, so that "
        "eval --json_eval can read bbox.json")
    add("--column", help="of parquet: paths, bytes, or Hugging Face's images (default: image, bytes, path, ...)")
    add("--engine", help="paddle, onnxruntime or openvino (default: the first of them that reads the model)")
    add("--batch_size", type=command_line.whole("batch_size"), default=1, help="pictures that run together (default 1)")
    add("--workers", type=_at_least_one, help="processes, each with the model (default: one for each core)")
    add("--shard_size", type=_at_least_one, help="pictures whose results become a file together (default: up to 256)")
    add("--address", help="of a Ray cluster that runs (default: processes on this machine)")
    add("--threads", type=command_line.whole("cpu_threads"), default=1, dest="cpu_threads", metavar="THREADS",
        help="of each worker, on the CPU; --cpu_threads is the same (default 1)")
    command_line.add_engine_flags(parser)
    parser.set_defaults(cpu_threads=1)
    args = parser.parse_args(argv)
    command_line.check_shapes(parser, args)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Detect as the command line says."""
    args = parse_args(argv)
    environment.setup()
    from ..scale import batch_run

    batch_run.run(args)
