# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One page of the runs in a folder: sortable by AP, time and memory, with a link to each run's report.html.

ppdet-ext runs output
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..config import flags


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default="output",
                        help="where the runs are, at any depth: the save_dir of your trainings (default output)")
    parser.add_argument("--output", metavar="FILE", help="the page (default FOLDER/runs.html)")
    flags.add_verbose(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page as the command line says, and name it."""
    args = parse_args(argv)
    from ..demo import run_browser, run_folders

    path, runs = run_browser.write(args.folder, args.output)
    counts = [sum(run.state == state for run in runs) for state in (run_folders.FINISHED, run_folders.UNFINISHED)]
    print(f"page: {path} ({len(runs)} runs: {counts[0]} finished, {counts[1]} not finished, "
          f"{len(runs) - sum(counts)} broken)")
