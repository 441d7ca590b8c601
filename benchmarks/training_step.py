#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A training step of RT-DETR R18 (320x320, batch 4) with Paddle's own CPU defaults and with ppdet_ext.runtime's.

The two settings need a process each; they take turns, step by step, through pipes.
"""
import argparse
import os
import subprocess
import sys
from pathlib import Path

from side_by_side import compare, table

REPO = Path(__file__).resolve().parents[1]
SETTINGS = ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")
# what Paddle does by itself: one thread, MKL's choice of instructions, freed memory given back
PADDLE_DEFAULTS = {"OMP_NUM_THREADS": "1", "MKL_DEBUG_CPU_TYPE": "0", "MALLOC_ARENA_MAX": "8"}


def worker(size, batch):
    """Make the model, then run one step for each line on standard input."""
    import ppdet_ext  # noqa: F401

    sys.path.insert(0, str(REPO / "tests"))
    from detector_cases import build_detector, train_batch

    model = build_detector(eval_size=[size, size])
    model.train()
    data = train_batch(size, size, batch)
    for _ in sys.stdin:
        model(dict(data))["loss"].backward()
        model.clear_gradients()
        print("done", flush=True)


def start(args, environment):
    command = [sys.executable, __file__, "--worker", "--size", str(args.size), "--batch", str(args.batch)]
    unset = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    process = subprocess.Popen(command, env={**unset, **environment}, text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def step():
        process.stdin.write("step\n")
        process.stdin.flush()
        while process.stdout.readline().strip() != "done":
            if process.poll() is not None:
                raise SystemExit(f"error: the worker ended with {process.returncode}; run with --worker to see why")

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.size, args.batch)
        return
    steps = {"Paddle's defaults": start(args, PADDLE_DEFAULTS), "ppdet_ext.runtime": start(args, {})}
    print(table(compare(steps, rounds=args.rounds, warm_up=1)))


if __name__ == "__main__":
    main()
