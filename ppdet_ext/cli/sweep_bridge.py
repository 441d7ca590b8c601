# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Take timm's and torchvision's networks through the bridge, hold each against its original, write the table.

python tools/sweep_bridge.py --filter 'vit_tiny*' 'resnet*' --jobs 2 --out output/bridge
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import setup
from ..config import flags
from ..errors import UserError

LIBRARIES = ("timm", "torchvision")


def positive(kind: type) -> Callable[[str], float]:
    """An argparse type: a number of this kind, above 0."""
    def number(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"'{text}' is not above 0")
        return value
    number.__name__ = kind.__name__
    return number


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_verbose(parser)
    add = parser.add_argument
    add("--filter", nargs="+", default=["*"], metavar="GLOB", help="names: 'vit_*' 'torchvision/*' (default: all)")
    add("--library", nargs="+", choices=LIBRARIES, default=list(LIBRARIES), help="default: both")
    add("--list", metavar="FILE", help="only the names in this file, one a line")
    add("--jobs", type=positive(int), default=1, help="models at a time, which share the cores (default: 1)")
    add("--out", default="docs/bridge", metavar="FOLDER", help="gets sweep.md, .csv and .jsonl (default: docs/bridge)")
    add("--reduce-above", type=positive(float), default=50.0, metavar="MILLIONS",
        help="parameters above which equal blocks in a row are cut to two (default: 50)")
    add("--trace-above", type=positive(float), default=400.0, metavar="MILLIONS",
        help="parameters, after the cut, above which a model is traced and not run (default: 400)")
    add("--time-limit", type=positive(float), default=300.0, metavar="SECONDS", help="for a model (default: 300)")
    add("--memory", type=positive(float), metavar="GIB", help="for a job (default: nine tenths of all, shared)")
    add("--resume", action="store_true", help="go on: leave out the names that --out has rows of")
    add("--retry", action="store_true", help="with --resume: measure those again that are not ok")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Sweep as the command line says. Leaves the process with 1 where a network falls short, else with 0."""
    args = parse_args(argv)
    setup()
    from ..weights.readers import need
    for module in ("torch", *LIBRARIES):
        need(module, "the sweep")
    from ..sweep import measure, originals, rows, sweep_report, worker_pool
    from ..sweep.run import run as sweep

    names = originals.names(args.filter, args.library)
    names = rows.listed(names, args.list) if args.list else names
    if not names:
        raise UserError(f"no name of {' or '.join(args.library)} is like {' or '.join(args.filter)}")
    settings = {"reduce_above": args.reduce_above, "trace_above": args.trace_above}
    plan = worker_pool.Plan(settings=settings, jobs=args.jobs, time_limit=args.time_limit,
                            memory=args.memory or worker_pool.share_of_memory(args.jobs),
                            describe=lambda name: {"library": LIBRARIES["/" in name], "family": originals.family(name)})
    found = list(sweep(names, Path(args.out) / "sweep.jsonl", plan, args.resume, args.retry).values())
    facts = [f"float32 tolerances: forward and export {measure.FORWARD:g}, gradients and BatchNorm statistics "
             f"{measure.GRADIENT:g} (max|d|/max|ref|); reduced depth above {args.reduce_above:g} M parameters"]
    table, page = sweep_report.write(found, args.out, facts)
    print(f"{sweep_report.summary(found)}\n{page}\n{table}")
    sys.exit(1 if sweep_report.short(found) else 0)
