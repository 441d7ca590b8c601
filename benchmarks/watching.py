#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What it costs that a training watches itself: one training, whose intervals are watched and not in turns.

python benchmarks/watching.py -c configs/rtdetr_cspresnet.yml -o worker_num=0 --pairs 15

Time is taken around an interval's batches with everything that is done between them, on the clock and in seconds of
processors (which leave out what other programs take). The batch is always the same. A pair's order is drawn; the ratio
is the pairs' median.
"""
import contextlib
import json
import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from machine import about

import ppdet_ext

ppdet_ext.setup()

from ppdet_ext import cli
from ppdet_ext.cli import prepare
from ppdet_ext.config import flags
from ppdet_ext.engine.hooks import Hook
from ppdet_ext.engine.trainer import Trainer


class Enough(Exception):
    """All pairs are there."""


class Turns:
    """Switches watching on and off at the beginning of intervals; ``first`` and ``last`` are hooks around the others.

    The first interval, in which memory grows, does not count.
    """

    def __init__(self, trainer, pairs):
        self.watching, self.every, self.pairs = trainer.watching, trainer.status.log_iter, pairs
        self.batch, self.rows, self.order = 0, [], []
        turns, self.first, self.last = self, Hook(), Hook()
        self.first.before_step = turns.begin
        self.last.after_step = turns.end

    def begin(self, status):
        if self.batch % self.every == 0:
            if not self.order:
                self.order = random.sample([True, False], 2)
            self.watching.active = self.order.pop()
            status.phases.counting = False
            if self.watching.active:
                self.watching.step = self.watching._number(status, status.step) - 1
                self.watching._restart(status)
            self.start = time.perf_counter(), time.process_time()

    def end(self, status):
        self.batch += 1
        if self.batch % self.every == 0:
            self.rows.append((self.watching.active, time.perf_counter() - self.start[0],
                              time.process_time() - self.start[1]))
            if len(self.rows) == 2 * self.pairs + 2:
                raise Enough


class Same:
    """A loader that gives its first batch again and again: sizes and boxes of others would cost more or less."""

    def __init__(self, loader):
        self.dataset, self.length, self.batch = loader.dataset, len(loader), next(iter(loader))

    def __iter__(self):
        return (dict(self.batch) for _ in range(self.length))


def ratios(rows, place):
    """{'ratio': median over pairs of watched over not, 'low', 'high': its quartiles, 'interval_s': without, median}."""
    pairs = [sorted(rows[i:i + 2], reverse=True) for i in range(2, len(rows) - 1, 2)]
    found = sorted(watched[place] / alone[place] for watched, alone in pairs)
    quarter = len(found) // 4
    return {"ratio": round(statistics.median(found), 4), "low": round(found[quarter], 4),
            "high": round(found[-quarter - 1], 4),
            "interval_s": round(statistics.median(alone[place] for _, alone in pairs), 3)}


def main():
    parser = flags.config_parser(__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    args = parser.parse_args()
    cfg = prepare.load_cfg(args, "train")
    cfg["epoch"] = 10_000
    trainer = Trainer(cfg, "train")
    trainer.loader = Same(trainer.loader)
    turns = Turns(trainer, args.pairs)
    trainer.hooks = [turns.first, *[hook for hook in trainer.hooks if type(hook).__name__ in (
        "Progress", "History", "Watching")], turns.last]
    with contextlib.suppress(Enough):
        trainer.train()
    result = {"machine": about("paddlepaddle"), "config": args.config, "options": args.opt,
              "batches_of_an_interval": turns.every, "clock": ratios(turns.rows, 1),
              "processors": ratios(turns.rows, 2)}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    cli.run(main)
