#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""How good the estimate is that every training begins with: beside it, the peak of a real run.

Each case is a training run of RT-DETR (R18's neck and decoder) on the sample data, in a process of its own: three steps
and the checkpoint. Measured is what the log's max_mem is: on a CPU the process's resident peak, on a GPU Paddle's
max_memory_allocated. `increase` is the ratio without what the process held before the first step, `seconds` what the
estimate adds to the start.
"""
import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
BACKBONES = ("resnet18", "resnet50", "resnext50_32x4d", "convnext_tiny", "swin_tiny_patch4_window7_224",
             "efficientnet_b0", "mobilenetv3_large_100", "regnety_008", "hgnetv2_b2", "pvt_v2_b1")
CASES = ("320:4", "640:2")  # side of the pictures : pictures of a step
STEPS = 3
COLUMNS = ("backbone", "size", "batch", "estimate", "measured", "ratio", "increase", "seconds")
CONFIG = """\
_BASE_: [{configs}/datasets/digits_detection.yml, {configs}/_base_/rtdetr.yml, {configs}/_base_/reader_640.yml,
         {configs}/_base_/optimizer_6x.yml, {configs}/_base_/runtime.yml]
TrainDataset: {{dataset_dir: {data}}}
EvalDataset: {{dataset_dir: {data}}}
TestDataset: {{dataset_dir: {data}}}
save_dir: {folder}
epoch: 1
seed: 0
worker_num: 0
norm_type: bn
eval_size: [{size}, {size}]
TimmBackbone: {{arch: {arch}, pretrained: false, recompute: {recompute}}}
HybridEncoder: {{expansion: 0.5, recompute: {recompute}}}
RTDETRTransformer: {{num_decoder_layers: 3, recompute: {recompute}}}
LearningRate: {{schedulers: [!PiecewiseDecay {{gamma: 1.0, milestones: [0], use_warmup: false}}]}}
TrainReader:
  batch_size: {batch}
  batch_transforms:
  - BatchRandomResize: {{target_size: [{size}], random_size: true, random_interp: false, keep_ratio: false}}
  - NormalizeImage: {{mean: from_weights, std: from_weights}}
  - NormalizeBox: {{}}
  - BboxXYXY2XYWH: {{}}
  - Permute: {{}}
"""


def measure(arch, size, batch, recompute, folder):
    """A row: one training run."""
    import ppdet_ext

    ppdet_ext.setup()

    from ppdet_ext import cli
    from ppdet_ext.data import digit_pictures, sample
    from ppdet_ext.engine import memory_check
    from ppdet_ext.engine.hooks import Hook
    from ppdet_ext.engine.progress import peak_memory_mb
    from ppdet_ext.engine.trainer import Trainer
    from ppdet_ext.measure.memory_estimate import MIB

    folder = Path(folder)
    sample.make(folder / "digits", digit_pictures.Spec(train=STEPS * batch, val=1, size=320))
    config = folder / "case.yml"
    config.write_text(CONFIG.format(configs=REPO / "configs", data=folder / "digits", folder=folder, size=size,
                                    arch=arch, batch=batch, recompute=str(recompute).lower()))
    trainer = Trainer(cli.load_cfg(cli.config_parser("").parse_args(["-c", str(config)])), "train")
    seconds = []
    say = memory_check.before_training

    def timed(*arguments):
        start = time.perf_counter()
        try:
            return say(*arguments)
        finally:
            seconds.append(time.perf_counter() - start)

    memory_check.before_training = timed
    peaks = []

    class Peaks(Hook):
        """The peak so far after each step, and after the checkpoint."""

        def after_step(self, status):
            peaks.append(peak_memory_mb())

        after_train = after_step

    trainer.hooks.append(Peaks())
    start = time.perf_counter()
    trainer.train()
    run, measured = trainer.memory, peak_memory_mb()
    estimate, before = run.peak(batch) / MIB, run.process / MIB
    return {"estimate": round(estimate), "measured": measured, "ratio": round(estimate / measured, 3),
            "increase": round((estimate - before) / (measured - before), 3), "seconds": round(seconds[0], 2),
            "run": round(time.perf_counter() - start - seconds[0], 1), "peaks": peaks,
            "activations": round(run.profile.peak(batch) / MIB), "process": round(before),
            "parts": {name: round(count / MIB) for name, count in run.parts(batch).items()}}


def run(arch, case, recompute):
    size, batch = case.split(":")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--worker", arch, size, batch, folder, *(["--recompute"] * recompute)]
        done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"error: {arch}, {case}: {(done.stderr.strip().splitlines() or ['ended'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def table(rows):
    """The rows as a markdown table."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *([row[name] for name in COLUMNS] for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def device():
    import paddle

    return f"{paddle.get_device()}, Paddle {paddle.__version__}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--cases", nargs="+", default=CASES, help="SIZE:BATCH")
    parser.add_argument("--recompute", action="store_true", help="of backbone, neck and decoder")
    parser.add_argument("--out", type=Path, default=REPO / "docs" / "memory_estimate.json")
    parser.add_argument("--worker", nargs=4, metavar=("ARCH", "SIZE", "BATCH", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        arch, size, batch, folder = args.worker
        row = measure(arch, int(size), int(batch), args.recompute, folder)
        return print(json.dumps(row), file=sys.__stdout__, flush=True)
    rows = []
    for arch in args.backbones:
        for case in args.cases:
            size, batch = case.split(":")
            rows.append({"backbone": arch, "size": int(size), "batch": int(batch),
                         **run(arch, case, args.recompute)})
            print({name: rows[-1][name] for name in (*COLUMNS, "run", "peaks", "parts")}, flush=True)
    worst = max(abs(row["ratio"] - 1) for row in rows)
    about = {"machine": platform.processor() or platform.machine(), "device": device(), "recompute": args.recompute,
             "steps": STEPS, "worst": round(worst, 3)}
    args.out.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(table(rows), f"\nfarthest from what is measured: {worst:.1%}")


if __name__ == "__main__":
    main()
