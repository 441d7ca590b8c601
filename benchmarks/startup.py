#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""How long commands take to start, side by side, as ratios to ``import ppdet``.

Each command is a process of its own; they take turns. Wall time, and CPU time (which a busy machine disturbs less). The
first, uncounted turn brings files into memory and writes .pyc files.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from machine import about
from side_by_side import compare, table

REPO = Path(__file__).resolve().parents[1]
COMMANDS = {
    "import ppdet": ["-c", "import ppdet"],
    "ppdet_ext.setup()": ["-c", "import ppdet_ext; ppdet_ext.setup()"],
    "tools/train.py --help": ["tools/train.py", "--help"],
    "tools/train.py, up to reading its config": ["tools/train.py", "-c", "no such file.yml"],
    "tools/deploy_infer.py --help": ["tools/deploy_infer.py", "--help"],
}


def children_cpu():
    """Seconds of CPU that ended child processes have used."""
    return sum(os.times()[2:4])


CLOCKS = {"wall": time.perf_counter, "cpu": children_cpu}


def starter(arguments):
    """A function that runs Python with these arguments to its end; 2 is how a tool says that its config is missing."""
    environment = {**os.environ, "PYTHONPATH": str(REPO)}

    def start():
        done = subprocess.run([sys.executable, *arguments], cwd=REPO, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 2) or "Traceback" in done.stderr:
            raise SystemExit(f"error: {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-1000:]}")
    return start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=REPO / "docs" / "runs" / "startup.json")
    args = parser.parse_args()
    commands = {name: starter(arguments) for name, arguments in COMMANDS.items()}
    results = {name: compare(commands, args.rounds, warm_up=1, clock=clock) for name, clock in CLOCKS.items()}
    content = {**about("paddlepaddle", "paddlepaddle-gpu", "paddledet"), "rounds": args.rounds, **results}
    args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = "\n\n".join(f"{name} time\n\n{table(rows)}" for name, rows in results.items())
    args.out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
