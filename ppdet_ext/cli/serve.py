# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A server of exported models: pictures by HTTP, boxes as JSON, by Ray Serve.

ppdet-ext serve --model_dir output_inference/a
ppdet-ext serve --model_dir people=output_inference/a cars=output_inference/b --replicas 1:4
Needs Ray Serve and FastAPI: pip install 'ppdet-ext[serve]'. It is for this machine alone unless --host says otherwise.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..config import flags
from ..deploy import command_line
from ..startup import environment
from . import server_flags


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    from ..scale.serve_settings import HOST, PORT, TOKEN, Replicas

    def replicas(text: str) -> Replicas:
        try:
            return Replicas.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    parser = command_line.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_verbose(parser)
    add = parser.add_argument
    add("--model_dir", nargs="+", required=True, metavar="[NAME=]FOLDER", help="what tools/export_model.py wrote: a "
        "folder, or an .onnx file in it; a request names one of several (default: the folder's name)")
    server_flags.add_engines(parser)
    add("--batch_size", type=command_line.whole("batch_size"), default=4, help="pictures that come at the same time "
        "run together, up to this many (default 4)")
    add("--batch_wait", type=command_line.between(0, 10_000), default=5.0, metavar="MS", help="milliseconds that "
        "a batch which is not full waits for more (default 5)")
    add("--replicas", type=replicas, default=Replicas(1, 1), metavar="N|LEAST:MOST", help="processes for each model; "
        "1:4: up to 4 while requests wait (default 1)")
    add("--threshold", type=command_line.share, default=0.5, help="least score of what is answered where the request "
        "does not say (default 0.5)")
    server_flags.add_host(parser, HOST)
    add("--port", type=server_flags.port, default=PORT, help=f"default {PORT}; 0 takes a free one")
    add("--token_file", metavar="FILE", help="its content is asked of every request ('Authorization: Bearer ...'); "
        f"without it the environment variable {TOKEN}'s is, where it is set")
    add("--max_requests", type=flags.above_zero, default=128, metavar="N", help="requests at once; more are answered "
        "503 (default 128)")
    add("--timeout", type=command_line.between(1, 86400), default=60.0, metavar="S",
        help="seconds for a request (default 60)")
    add("--address", metavar="HOST:PORT", help="a Ray cluster that runs (default: processes on this machine)")
    add("--log_file", metavar="FILE", help="where what Ray and the replicas say is kept")
    command_line.add_engine_flags(parser)
    args = parser.parse_args(argv)
    command_line.check_shapes(parser, args)
    server_flags.check_engines(parser, args)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Serve as the command line says, until Ctrl-C or SIGTERM."""
    args = parse_args(argv)
    environment.setup()
    from ..scale import server

    server.run(args)
