# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Write ppdet_ext/choose/catalogue.csv: what each backbone of timm and torchvision costs and what is published of it.

Only for the package's authors, when timm or torchvision is updated. Needs torch; takes about half an hour on one core.
"""
import argparse
from pathlib import Path

import ppdet_ext

ppdet_ext.setup()

from ppdet_ext.sweep import originals, worker_pool
from ppdet_ext.sweep.run import run


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--filter", nargs="+", default=["*"], metavar="GLOB", help="names to measure (default: all)")
    parser.add_argument("--rows", type=Path, default=Path("output/catalogue/catalogue.jsonl"), help="measured rows")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    parser.add_argument("--retry", action="store_true", help="with --resume: measure those again that failed")
    args = parser.parse_args(argv)
    plan = worker_pool.Plan(measure="ppdet_ext.choose.torch_costs:row", memory=6.0)
    run(originals.names(args.filter), args.rows, plan, args.resume, args.retry)


if __name__ == "__main__":
    from ppdet_ext import cli
    cli.run(main)
