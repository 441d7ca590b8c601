#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Peak memory of a training step of RT-DETR, with and without recompute and accumulate_steps.

Every setting runs in a process of its own: two steps of AdamW over ``--batch`` images. On a GPU the figure is Paddle's
max_memory_allocated, on a CPU the process's resident peak above what it held before the first step.
"""
import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
BACKBONES = {
    "ppdet's ResNet-18": {},
    "swin_tiny_patch4_window7_224 (native)": {"arch": "swin_tiny_patch4_window7_224"},
    "pvt_v2_b1 (bridged)": {"arch": "pvt_v2_b1"},
}
# name -> (parts that are recomputed, share of the batch that is computed at once)
SETTINGS = {
    "plain": ((), 1.0),
    "recompute: backbone": (("backbone",), 1.0),
    "recompute: backbone, neck, decoder": (("backbone", "neck", "decoder"), 1.0),
    "accumulate_steps: 2, half the batch": ((), 0.5),
    "accumulate_steps: 2 and recompute of all": (("backbone", "neck", "decoder"), 0.5),
}


def build(backbone, size, recomputed):
    """The R18 detector with another backbone, in train mode."""
    sys.path.insert(0, str(REPO / "tests"))
    from support.detector_cases import build_detector

    sections = {"eval_size": [size, size], "norm_type": "bn", "HybridEncoder": {"recompute": "neck" in recomputed},
                "RTDETRTransformer": {"recompute": "decoder" in recomputed},
                "ResNet": {"freeze_at": -1, "freeze_norm": False, "recompute": "backbone" in recomputed}}
    if BACKBONES[backbone]:
        del sections["ResNet"]
        sections.update({"DETR": {"backbone": "TimmBackbone"}, "TimmBackbone": {
            **BACKBONES[backbone], "pretrained": False, "recompute": "backbone" in recomputed}})
    return build_detector(**sections).train()


def peak_bytes():
    import paddle

    if not paddle.get_device().startswith("cpu"):
        return paddle.device.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(backbone, setting, size, batch):
    """Peak of two steps in MiB."""
    import paddle
    from support.detector_cases import train_batch

    from ppdet_ext import kernels

    recomputed, share = SETTINGS[setting]
    part, groups = max(1, round(batch * share)), max(1, round(1 / share))
    model = build(backbone, size, recomputed)
    optimizer = paddle.optimizer.AdamW(1e-4, parameters=model.parameters(),
                                       grad_clip=paddle.nn.ClipGradByGlobalNorm(0.1))
    before = 0 if not paddle.get_device().startswith("cpu") else peak_bytes()
    with kernels.enabled():
        for _ in range(2):
            for _ in range(groups):
                (model(train_batch(size, size, part))["loss"] / groups).backward()
            optimizer.step()
            optimizer.clear_grad()
    return round((peak_bytes() - before) / 2**20)


def worker(args):
    import ppdet_ext

    ppdet_ext.setup()

    sys.path.insert(0, str(REPO / "tests"))
    print(json.dumps(measure(*args.worker, args.size, args.batch)), file=sys.__stdout__, flush=True)


def run(args, backbone, setting):
    command = [sys.executable, __file__, "--worker", backbone, setting, "--size", str(args.size), "--batch",
               str(args.batch)]
    # with a MALLOC_ variable the C library's settings are left alone: freed memory is given back
    done = subprocess.run(command, text=True, capture_output=True, env={**os.environ, "MALLOC_ARENA_MAX": "1"})
    if done.returncode:
        raise SystemExit(f"error: {backbone}, {setting}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def paddle_device():
    import paddle

    return f"{paddle.get_device()}, Paddle {paddle.__version__}"


def table(rows):
    """Rows with equal keys as a markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--out", type=Path, default=REPO / "docs" / "memory.json")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args)
    rows = []
    for backbone in BACKBONES:
        for setting in SETTINGS:
            rows.append({"backbone": backbone, "setting": setting, "MiB": run(args, backbone, setting)})
            first = next(row["MiB"] for row in rows if row["backbone"] == backbone)
            rows[-1]["of plain"] = f"{rows[-1]['MiB'] / first:.0%}"
            print(rows[-1], flush=True)
    about = {"machine": platform.processor() or platform.machine(), "device": paddle_device(), "size": args.size,
             "batch": args.batch}
    args.out.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
