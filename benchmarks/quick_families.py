#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``train --quick`` on backbones of ten families, from random starts, and on five that are broken on purpose.

Each is a run of tools/train.py on the sample data set, one after the other. Writes a table in markdown and in JSON.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
CONFIG = REPO / "configs" / "rtdetr_cspresnet.yml"
BROKEN_FILE = REPO / "benchmarks" / "broken_backbones.py"
# family -> (name, further settings of TimmBackbone)
FAMILIES = {
    "ResNet": ("resnet18", {}),
    "CSPNet": ("cspresnet50", {}),
    "RegNet": ("regnety_002", {}),
    "MobileNetV3": ("mobilenetv3_small_050", {}),
    "EfficientNet-Lite": ("tf_efficientnet_lite0", {}),
    "RepViT": ("repvit_m0_9", {}),
    "HGNetV2": ("hgnetv2_b0", {}),
    "ConvNeXt": ("convnext_atto", {}),
    "Swin": ("swin_tiny_patch4_window7_224", {}),
    "ViT": ("vit_tiny_patch16_224", {"adapter": "simple_fpn"}),
}
NORMALIZATION = ["normalization={mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"]
# what is broken -> (-o options, exit code, words that the verdict must have)
BROKEN = {
    "frozen at random values": (["TimmBackbone.arch=resnet18", "TimmBackbone.pretrained=false",
                                 "TimmBackbone.freeze_at=3"], 1, "frozen at random values"),
    "the picture gets lost": (["DETR.backbone=PictureLost", *NORMALIZATION], 1, "the same for every image"),
    "the gradient is stopped": (["DETR.backbone=GradientStopped", *NORMALIZATION], 1,
                                "no gradient reaches the backbone"),
    "a division by zero": (["DETR.backbone=DividesByZero", *NORMALIZATION], 1, "NaN or infinite numbers"),
    "features in the wrong order": (["DETR.backbone=CoarseFirst", *NORMALIZATION], 2, "strides that double"),
}


def quick(options, folder, steps):
    """(exit code, verdict line, facts of quick.json or {}, seconds) of one run."""
    command = [sys.executable, str(REPO / "tools" / "train.py"), "-c", str(CONFIG), "--import", str(BROKEN_FILE),
               "--quick", *([str(steps)] if steps else []), "-o", f"save_dir={folder}", *options]
    start = time.time()
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "PYTHONPATH": str(REPO)})
    lines = [line for line in done.stdout.splitlines() if line.startswith(("quick: PASS", "quick: FAIL", "error: "))]
    written = Path(folder) / CONFIG.stem / "quick" / "quick.json"
    facts = json.loads(written.read_text()) if written.is_file() else {}
    line = lines[-1] if lines else (done.stdout.strip().splitlines() or ["nothing"])[-1]
    return done.returncode, line.partition(": ")[2], facts, time.time() - start


def seeds_of(args):
    """[(row's name, family, -o options)] of the sound backbones."""
    for family, (arch, settings) in FAMILIES.items():
        if args.only is not None and arch not in args.only:
            continue
        for seed in args.seeds:
            yield arch, family, seed, [f"TimmBackbone.arch={arch}", "TimmBackbone.pretrained=false", f"seed={seed}",
                                       *(f"TimmBackbone.{key}={value}" for key, value in settings.items())]


def sound_row(arch, family, seed, options, steps):
    with tempfile.TemporaryDirectory() as folder:
        code, line, facts, seconds = quick(options, folder, steps)
    loss, ap = facts.get("loss") or [None, None], facts.get("ap") or {}
    return {"backbone": arch, "family": family, "seed": seed, "loss, start": loss[0], "loss, end": loss[1],
            "AP": ap.get("AP"), "AP50": ap.get("AP50"), "seconds": round(seconds), "exit code": code, "verdict": line,
            "as it should be": code == 0}


def broken_row(name, steps):
    options, wanted, words = BROKEN[name]
    with tempfile.TemporaryDirectory() as folder:
        code, line, _, seconds = quick(options, folder, steps)
    return {"broken": name, "exit code": code, "verdict": line, "seconds": round(seconds),
            "as it should be": code == wanted and words in line}


def shown(value):
    return f"{value:.2f}" if isinstance(value, float) else "yes" if value is True else str(value)


def table(rows, columns):
    """Some columns of rows as a markdown table."""
    lines = [columns, ["---"] * len(columns), *([shown(row[column]) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="backbones; default all (none: only the broken ones)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--steps", type=int, default=0, help="default: as many as --quick makes")
    parser.add_argument("--out", type=Path, default=REPO / "docs" / "benchmarks" / "quick_families.json")
    args = parser.parse_args()
    sound = []
    for case in seeds_of(args):
        sound.append(sound_row(*case, args.steps))
        print(sound[-1], flush=True)
    broken = []
    for name in BROKEN:
        broken.append(broken_row(name, args.steps))
        print(broken[-1], flush=True)
    args.out.write_text(json.dumps({"sound": sound, "broken": broken}, indent=1) + "\n", encoding="utf-8")
    text = "\n\n".join(table(rows, columns) for rows, columns in (
        (sound, ["backbone", "family", "loss, start", "loss, end", "AP", "AP50", "seconds", "exit code"]),
        (broken, ["broken", "exit code", "verdict", "seconds"])) if rows)
    args.out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)
    wrong = [row for row in sound + broken if not row["as it should be"]]
    sys.exit(f"{len(wrong)} of {len(sound + broken)} are not as they should be" if wrong else 0)


if __name__ == "__main__":
    main()
