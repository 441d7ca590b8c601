# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Flags of commands that serve exported models at an address: demo's page, serve's server."""
from __future__ import annotations

import argparse


def port(text: str) -> int:
    """A number from 0 to 65535 (argparse type)."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, not '{text[:80]}'")
    return int(text)


def add_engines(parser: argparse.ArgumentParser) -> None:
    """``--engine``, for one or for each model of ``--model_dir``."""
    parser.add_argument("--engine", nargs="+", metavar="ENGINE", help="paddle, onnxruntime or openvino: one for all, "
                        "or one for each model (default: the first of them that reads the model)")


def check_engines(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a usage error where there are neither one engine nor as many as models."""
    if args.engine and len(args.engine) not in (1, len(args.model_dir)):
        parser.error(f"argument --engine: one, or one for each of the {len(args.model_dir)} models, not "
                     f"{len(args.engine)}")


def add_host(parser: argparse.ArgumentParser, host: str) -> None:
    """``--host``, by default ``host``."""
    parser.add_argument("--host", default=host, help=f"address to serve at (default {host}: this machine alone; "
                        "0.0.0.0: all who reach it)")
