# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Look a data set over before it is trained on: pictures, boxes, copies, classes, splits, and what fits the detector.

Takes a folder in any layout that --data takes, or the file that describes it. Every picture file is read to its end.
Writes check.html and check.json. Exit code: 0 nothing serious, 1 something is, 2 the command or its files are wrong.
"""
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import flags
from ..datasets.check_kinds import QUERIES

if TYPE_CHECKING:
    from ..datasets.check_subject import Subject

WIDTH = 120  # of the table where the output goes to a file
STYLES = {"serious": "red", "warning": "yellow", "note": "dim"}
PAGE, FACTS = "check.html", "check.json"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("data", metavar="DIR_OR_FILE", help="the data set: a folder, or its data.yaml, .json, .csv")
    add("--fix", metavar="OUT", help="write a corrected copy here, in the data set's own layout (COCO's for a CSV); a "
        "new folder, never in place")
    add("-c", "--config", help="config of the detector that it is for, for its number of queries")
    add("--num_queries", type=flags.above_zero, help=f"queries of that detector (default: those of -c, else {QUERIES})")
    add("--workers", type=flags.above_zero, help="processes that read pictures (default: one for each core)")
    add("--output_dir", default="output/check_data", help=f"where {PAGE} and {FACTS} go (default output/check_data)")
    flags.add_verbose(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> Subject:
    """Check as the command line says; ends the process with code 1 where something serious was found."""
    args = parse_args(argv)
    started = time.perf_counter()
    from ..datasets import conversion, dataset_checks, fix, layouts
    from ..datasets.check_subject import Subject
    from ..report import check_page

    problems: list[Any] = []
    data = layouts.read(args.data, problems)
    target = Path(args.fix).expanduser().absolute() if args.fix else None
    if target is not None:
        conversion.require_free(target, data.root)
    queries = args.num_queries or _queries_of(args.config)
    paths = list(dict.fromkeys(Path(picture.path) for pictures in data.splits.values() for picture in pictures))
    print(f"{data.layout} in '{data.root}': {len(paths):,} pictures, {len(data.names):,} classes", flush=True)
    for note in data.notes:
        print(f"  {note}")
    subject = dataset_checks.check(Subject(data, _facts(paths, args.workers), problems, queries))
    if target is not None:
        fix.write(subject, target)
    seconds = time.perf_counter() - started
    folder = Path(args.output_dir)
    _write_json(subject, folder / FACTS, seconds, target)
    check_page.write(subject, folder / PAGE, fix.rows(subject) if target else [])
    _show(subject)
    if target is not None:
        _show_fixes(subject, target)
    print(f"written: {folder / PAGE}, {folder / FACTS} ({len(paths):,} pictures in {seconds:.0f} s)")
    print(subject.verdict())
    if not subject.passed:
        sys.exit(1)
    return subject


def _queries_of(config: str | None) -> int:
    """The num_queries of a config's detector."""
    if not config:
        return QUERIES
    from .. import setup

    setup()
    from ..config import config_file
    from ..data import checks

    return min((limit for _, limit in checks.rooms(config_file.load(config, []), ("num_queries",))), default=QUERIES)


def _facts(paths: Sequence[Path], workers: int | None) -> dict[Path, Any]:
    """{picture: what its file says}, with a bar where somebody looks at it."""
    from rich.console import Console
    from rich.progress import track

    from ..datasets import picture_facts

    found = track(picture_facts.of_files(paths, workers), "reading pictures", total=len(paths), transient=True,
                  console=Console(stderr=True), disable=not sys.stderr.isatty())
    return dict(zip(paths, found))


def _show(subject: Subject) -> None:
    """The table of findings, the gravest first."""
    from rich.markup import escape
    from rich.table import Table

    from ..datasets.check_kinds import KINDS

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("count", justify="right")
    table.add_column("what", ratio=3)
    table.add_column("what to do", ratio=2)
    for finding in subject.findings:
        kind = KINDS[finding.kind]
        more = finding.text[0] or (f"first: {finding.places[0]}" if finding.places else "")
        mended = f"\n[dim]--fix: {escape(kind.mended[0])}[/dim]" if kind.mended[0] else ""
        table.add_row(f"[{STYLES[finding.severity]}]{finding.severity}", _count(finding),
                      f"{escape(kind.title[0])}\n[dim]{escape(more)}[/dim]", f"{escape(kind.advice[0])}{mended}")
    _console().print(table)


def _count(finding: Any) -> str:
    return f"{finding.count:,}" + (f" of {finding.of:,}" if finding.of else "")


def _show_fixes(subject: Subject, target: Path) -> None:
    from rich.table import Table

    from ..datasets import fix

    rows = fix.rows(subject)
    table = Table(title=f"\n--fix: a copy ({fix.layout_of(subject).upper()}) in '{target}'", title_justify="left",
                  box=None, pad_edge=False)
    for name in ("what was wrong", "changes", "what was done"):
        table.add_column(name, justify="right" if name == "changes" else "left")
    for _, count, title, mended in rows:
        table.add_row(title[0], f"{count:,}", mended[0])
    if rows:
        _console().print(table)
    print(f"written: {target} ({fix.CHANGES} in it has a row for each of {len(subject.changes):,} changes)")


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)


def _write_json(subject: Subject, path: Path, seconds: float, target: Path | None) -> None:
    from ..datasets import fix
    from ..files import atomic_path

    content = {**subject.as_dict(), "seconds": round(seconds, 1)}
    if target is not None:
        content["fixed"] = {"folder": str(target), "changes": {kind: count for kind, count, _, _ in fix.rows(subject)}}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
                             encoding="utf-8")
