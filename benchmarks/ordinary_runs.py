#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Ordinary trainings of differing backbones: none of them may be told that something is wrong.

python benchmarks/ordinary_runs.py --epochs 12 --size 128

Each run is tools/train.py with --eval on the sample data set, in a process of its own. The table says what the run
said of itself (metrics.jsonl), with the numbers that the rules look at; exit code 1 where there was a warning.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
BACKBONES = ("resnet18", "resnet50", "cspresnet50", "convnext_atto", "mobilenetv3_small_100", "tf_efficientnet_lite0",
             "regnetx_002", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "hgnetv2_b0")
COLUMNS = ("backbone", "warnings", "loss", "gradient", "backbone's update ratio", "waiting", "AP")
# plain transformers have one stride, and get the others from a pyramid; fixed sizes are told the picture's
EXTRA = {"vit_tiny_patch16_224": ["TimmBackbone.adapter=simple_fpn"]}
SIZED = ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")


def options(arch, args, output):
    """Those of the command line, after -o."""
    size = args.size
    found = [f"save_dir={output}", f"epoch={args.epochs}", f"worker_num={args.workers}", f"eval_size=[{size},{size}]",
             f"snapshot_epoch={args.epochs}", f"log_iter={args.interval}", f"TrainReader.batch_size={args.batch}",
             f"TimmBackbone.arch={arch}", f"TimmBackbone.pretrained={args.pretrained}", *EXTRA.get(arch, [])]
    return [*found, *[f"TimmBackbone.img_size={size}"] * (arch in SIZED), *args.opt]


def run(arch, args):
    """(lines of metrics.jsonl, end of the log where the run failed)."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "ordinary.yml"
        config.write_text(CONFIG.format(base=REPO / "configs" / "rtdetr_cspresnet.yml", size=args.size))
        done = subprocess.run([sys.executable, str(REPO / "tools" / "train.py"), "-c", str(config), "--eval", "-o",
                               *options(arch, args, folder)], text=True, capture_output=True, cwd=args.folder)
        path = Path(folder) / "ordinary" / "metrics.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        return lines, "" if done.returncode == 0 else (done.stderr or done.stdout)[-600:]


CONFIG = """\
_BASE_: ['{base}']
TrainReader:
  batch_transforms:
  - BatchRandomResize: {{target_size: [{size}], random_size: true, random_interp: true, keep_ratio: false}}
  - NormalizeImage: {{mean: from_weights, std: from_weights}}
  - NormalizeBox: {{}}
  - BboxXYXY2XYWH: {{}}
  - Permute: {{}}
EvalReader:
  sample_transforms:
  - Decode: {{}}
  - Resize: {{target_size: [{size}, {size}], keep_ratio: false, interp: 2}}
  - NormalizeImage: {{mean: from_weights, std: from_weights}}
  - Permute: {{}}
"""


def row(arch, lines, failure):
    """A row of the table."""
    train = [line for line in lines if line["kind"] == "train"]
    warnings = [f"{line['rule']}: {line['message']}" for line in lines if line["kind"] == "warning"]
    if failure or not train:
        return f"| {arch} | failed: {' '.join(failure.split())} | | | | | |"
    late = train[len(train) // 2:]

    def middle(*keys):
        values = []
        for line in late:
            for key in keys:
                line = line.get(key, {})
            values.append(line)
        return statistics.median(value for value in values if isinstance(value, (int, float)))
    ap = next((line["metrics"].get("AP") for line in reversed(lines) if line["kind"] == "eval"), None)
    return (f"| {arch} | {'; '.join(warnings) or 'none'} | {train[0]['loss']['loss']:.1f} to "
            f"{train[-1]['loss']['loss']:.1f} | {middle('grad_norm'):.3g} | {middle('update_ratio', 'backbone'):.2g} | "
            f"{middle('share', 'data'):.0%} | {ap} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--interval", type=int, default=10, help="log_iter")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--pretrained", default="false", help="false, auto or true")
    parser.add_argument("--folder", default=".", help="where the sample data set is, or is made")
    parser.add_argument("-o", "--opt", nargs="*", default=[], help="more settings of all runs")
    args = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    said = 0
    for arch in args.backbones:
        lines, failure = run(arch, args)
        said += bool(failure) or any(line["kind"] == "warning" for line in lines)
        print(row(arch, lines, failure), flush=True)
    sys.exit(1 if said else 0)


if __name__ == "__main__":
    main()
