#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A config trained with ``augment: none, light, medium, strong``, the same steps and seeds for each: AP side by side.

    python benchmarks/augment.py --epochs 24 --seeds 0 1 --output docs/runs/augment_digits.json
    python benchmarks/augment.py --data dataset/tree_crowns --epochs 24 --output docs/runs/augment_trees.json

Each run is the command train, one after the other, seed by seed, so that what is there is comparable whenever it is
stopped. The JSON is written after each run. 'config' as a preset: the config's own augmentations, without the key.
``benchmarks/tree_crowns.py`` makes the second data set.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
METRICS = ("AP", "AP50")
DECAY = 0.8  # share of the epochs after which the rate falls to a tenth


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("-c", "--config", default="rtdetr_cspresnet.yml")
    add("--data", help="a data set's folder; default: the config's own")
    add("--epochs", type=int, default=24)
    add("--seeds", type=int, nargs="+", default=[0])
    add("--presets", nargs="+", default=["none", "light", "medium", "strong"])
    add("--flip", choices=["true", "false"], help="default: by the classes")
    add("--output", default="augment.json", help="file of the results")
    add("--minutes", type=float, default=1e9, help="no run is begun after so many")
    add("-o", "--opt", nargs="*", default=[], metavar="KEY=VALUE", help="further options of train")
    return parser.parse_args()


def train(args, preset, seed, folder):
    """One run: {preset, seed, seconds, line, curve [(epoch, AP, AP50)]}."""
    flip = f", flip: {args.flip}" if args.flip else ""
    options = [f"save_dir={folder}", f"seed={seed}", f"epoch={args.epochs}", "keep_checkpoints=0", "report=false",
               f"snapshot_epoch={max(args.epochs // 3, 1)}",
               "LearningRate.schedulers=[{name: PiecewiseDecay, gamma: 0.1, milestones: "
               f"[{round(DECAY * args.epochs)}], use_warmup: true}}, {{name: LinearWarmup, start_factor: 0.001, "
               "steps: 50}]", *args.opt]
    if preset != "config":
        options.append(f"augment={{preset: {preset}{flip}}}")
    command = [sys.executable, "-m", "ppdet_ext.cli", "train", "-c", args.config, "--eval", "--progress", "plain",
               *(["--data", args.data] if args.data else []), "-o", *options]
    start = time.monotonic()
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "PYTHONPATH": str(REPO)})
    seconds = round(time.monotonic() - start, 1)
    if done.returncode:
        sys.exit(f"{preset}, seed {seed}: exit code {done.returncode}\n{done.stdout[-2000:]}")
    rows = json.loads((Path(folder) / Path(args.config).stem / "curves.json").read_text())
    line = next((text.partition("augment: ")[2] for text in done.stdout.splitlines() if "augment: " in text), "")
    return {"preset": preset, "seed": seed, "seconds": seconds, "line": line,
            "curve": [[row["epoch"] + 1, *[row["ap"].get(name) for name in METRICS]] for row in rows if row.get("ap")]}


def table(runs, presets):
    """Mean and spread over the seeds that all presets have, of the last and of the best evaluation."""
    by_preset = {preset: {run["seed"]: run for run in runs if run["preset"] == preset} for preset in presets}
    seeds = sorted(set.intersection(*map(set, by_preset.values()))) if all(by_preset.values()) else []
    lines = [f"| augment | {' | '.join(METRICS)} at the end | best AP50 | seconds |", "|---|---|---|---|---|"]
    for preset in presets:
        own = [by_preset[preset][seed] for seed in seeds or by_preset[preset]]
        if own:
            cells = [_mean([run["curve"][-1][place + 1] for run in own]) for place in range(len(METRICS))]
            cells += [_mean([max(row[2] for row in run["curve"]) for run in own]),
                      f"{statistics.mean(run['seconds'] for run in own):.0f}"]
            lines.append(f"| {preset} | {' | '.join(cells)} |")
    return "\n".join([*lines, f"seeds: {', '.join(map(str, seeds)) or 'not the same for all yet'}"])


def _mean(values):
    spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def main():
    args = parse_args()
    begin, runs = time.monotonic(), []
    for seed in args.seeds:
        for preset in args.presets:
            if time.monotonic() - begin > 60 * args.minutes:
                break
            with tempfile.TemporaryDirectory() as folder:
                runs.append(train(args, preset, seed, folder))
            Path(args.output).write_text(json.dumps({
                "config": args.config, "data": args.data and Path(args.data).name, "epochs": args.epochs,
                "options": args.opt, "flip": args.flip, "metrics": METRICS, "runs": runs}, indent=1) + "\n")
            print(table(runs, args.presets), flush=True)


if __name__ == "__main__":
    main()
