# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detect with an exported model: what tools/deploy_infer.py does without the package around ``deploy``."""
from __future__ import annotations

from collections.abc import Sequence

from ..deploy import session
from ..deploy.command_line import parse_args
from ..startup import environment, quiet

__all__ = ["main", "parse_args"]


def main(argv: Sequence[str] | None = None) -> None:
    """Detect as the command line says."""
    args = parse_args(argv)
    environment.setup()
    with quiet.imports():
        session.run(args)
