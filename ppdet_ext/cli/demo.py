# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A page to look at exported models: drop a picture, move the threshold, two models side by side.

ppdet-ext demo --model_dir output_inference/a output_inference/b
Needs Gradio: pip install 'ppdet-ext[demo]'. The page is for this machine alone unless --host says otherwise.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..config import flags
from ..deploy import command_line
from ..startup import environment
from . import server_flags

MOST = 2  # models on a page


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    from ..demo.page_address import HOST, PORT

    parser = command_line.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_verbose(parser)
    add = parser.add_argument
    add("--model_dir", nargs="+", required=True, metavar="FOLDER", help="what tools/export_model.py wrote: a folder, "
        "or an .onnx file in it; two of them are shown side by side")
    server_flags.add_engines(parser)
    add("--threshold", type=command_line.share, default=0.5, help="where the slider begins (default 0.5)")
    server_flags.add_host(parser, HOST)
    add("--port", type=server_flags.port, default=PORT, help=f"default {PORT}; a free one is taken where it is 0 "
        "or taken")
    command_line.add_engine_flags(parser)
    args = parser.parse_args(argv)
    command_line.check_shapes(parser, args)
    if len(args.model_dir) > MOST:
        parser.error(f"argument --model_dir: at most {MOST} models, not {len(args.model_dir)}")
    server_flags.check_engines(parser, args)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the page as the command line says, until Ctrl-C."""
    args = parse_args(argv)
    environment.setup()
    from ..demo import page_server

    page_server.run(args)
