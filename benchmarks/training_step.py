#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A training step of RT-DETR here, with Paddle's own CPU defaults, and in torch (transformers' RTDetr), side by side.

python benchmarks/training_step.py --backbones r18 resnet18.timm --sizes 320 640 --output docs/benchmarks

A step is forward, matching, losses, backward, clipping and AdamW. Each alternative has a process of its own; they take
turns, step by step, through pipes, and each tells the most memory it ever held (less what it held with its libraries
imported; on a GPU the most that its tensors held). Needs torch and transformers. Writes training_step.json, .md, .png.
"""
import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from machine import about, memory
from side_by_side import bars, compare, table

REPO = Path(__file__).resolve().parents[1]
SETTINGS = ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")
# what Paddle does by itself: one thread, MKL's choice of instructions, freed memory given back
PADDLE_DEFAULTS = {"OMP_NUM_THREADS": "1", "MKL_DEBUG_CPU_TYPE": "0", "MALLOC_ARENA_MAX": "8",
                   "PPDET_EXT_KERNELS": "0"}
SIDES = {"torch (transformers)": ("torch", {}), "ppdet_ext": ("ours", {}),
         "Paddle's operations": ("ours", {"PPDET_EXT_KERNELS": "0"}), "Paddle's defaults": ("ours", PADDLE_DEFAULTS)}
BOXES, CLASSES, RATE, CLIP = 8, 80, 1e-4, 0.1


def ours(backbone, size, batch, device, amp, queries):
    """A function that does one step."""
    import paddle

    from ppdet_ext.engine.precision import Precision

    sys.path.insert(0, str(REPO / "tests"))
    from support.detector_cases import build_detector, train_batch

    paddle.set_device(device)
    sections = {"eval_size": [size, size], "norm_type": "bn", "RTDETRTransformer": {"num_queries": queries}}
    if backbone == "r18":
        sections["ResNet"] = {"depth": 18, "freeze_at": -1, "freeze_norm": False}
    else:
        sections.update({"DETR": {"backbone": "TimmBackbone"}, "TimmBackbone": {
            "arch": backbone.removesuffix(".timm"), "pretrained": False, "out_indices": [2, 3, 4]}})
    model = build_detector(**sections).train()
    optimizer = paddle.optimizer.AdamW(RATE, parameters=model.parameters(),
                                       grad_clip=paddle.nn.ClipGradByGlobalNorm(CLIP))
    rng = np.random.default_rng(0)
    boxes = [rng.uniform([0.3, 0.3, 0.05, 0.05], [0.7, 0.7, 0.5, 0.5], (BOXES, 4)) for _ in range(batch)]
    targets = [one.astype("float32") for one in boxes], [rng.integers(0, CLASSES, (BOXES, 1)).astype("int32")] * batch
    data, precision = train_batch(size, size, batch, targets=targets), Precision(enabled=amp)
    scaler = precision.scaler()

    def step():
        with precision.auto_cast():
            loss = model(dict(data))["loss"]
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.clear_grad(set_to_zero=False)  # as the Trainer does
        return float(loss)
    return step


def theirs(backbone, size, batch, device, amp, queries):
    """The same of transformers' RTDetrForObjectDetection."""
    import torch
    import transformers

    device = device.replace("gpu", "cuda")
    if backbone == "r18":
        config = transformers.RTDetrResNetConfig(embedding_size=64, out_features=["stage2", "stage3", "stage4"],
                                                 layer_type="basic", depths=[2, 2, 2, 2],
                                                 hidden_sizes=[64, 128, 256, 512])
    else:
        config = transformers.TimmBackboneConfig(backbone=backbone.removesuffix(".timm"), out_indices=[2, 3, 4],
                                                 use_pretrained_backbone=False)
    model = transformers.RTDetrForObjectDetection(transformers.RTDetrConfig(
        backbone_config=config, num_labels=CLASSES, encoder_in_channels=[128, 256, 512], hidden_expansion=0.5,
        decoder_layers=3, eval_size=None, anchor_image_size=None, freeze_backbone_batch_norms=False,
        num_queries=queries)).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    scaler = torch.amp.GradScaler(device, enabled=amp)
    torch.manual_seed(0)
    image = torch.rand(batch, 3, size, size, device=device)
    labels = [{"boxes": torch.rand(BOXES, 4, device=device) * 0.3 + 0.2,
               "class_labels": torch.randint(CLASSES, (BOXES,), device=device)} for _ in range(batch)]

    def step():
        with torch.autocast(device, enabled=amp):
            loss = model(pixel_values=image, labels=labels).loss
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        return float(loss)
    return step


def peak(side, device, before):
    """MiB that this process has held at most, less ``before``; on a GPU what its tensors held at most."""
    if device == "cpu":
        return memory("VmHWM") - before
    if side == "ours":
        import paddle
        return paddle.device.cuda.max_memory_allocated() / 2**20
    import torch
    return torch.cuda.max_memory_allocated() / 2**20


def worker(args):
    """Make the model, then do one step for each line on standard input."""
    side, channel = args.worker, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print there
    if side == "ours":
        import ppdet_ext
        ppdet_ext.setup()
        from ppdet_ext.kernels import enabled
        from ppdet_ext.startup.environment import give_back_freed_memory
    else:
        import torch
        import transformers  # noqa: F401
        torch.set_num_threads(args.threads)
    before = memory("VmRSS")
    make = {"ours": ours, "torch": theirs}[side]
    step = make(args.backbones[0], args.sizes[0], args.batch, args.device, args.amp, args.queries)
    with enabled() if side == "ours" else contextlib.nullcontext():
        for number, _ in enumerate(sys.stdin):
            step()
            if side == "ours" and number == 0:
                give_back_freed_memory()  # as the Trainer does
            print(round(peak(side, args.device, before)), file=channel, flush=True)


class Side:
    """An alternative in a process of its own. ``peak``: MiB, of its last step."""

    def __init__(self, side, environment, backbone, size, args):
        command = [sys.executable, "-X", "faulthandler", __file__, "--worker", side, "--sizes", str(size), "--batch",
                   str(args.batch), "--backbones", backbone, "--device", args.device, "--threads", str(args.threads),
                   "--queries", str(args.queries), *["--amp"] * args.amp]
        unset = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        self.peak, self._errors = 0, tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(command, env={**unset, "OMP_NUM_THREADS": str(args.threads), **environment},
                                         text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=self._errors)

    def step(self):
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise SystemExit(f"{self._errors.read()[-2000:]}\nerror: a worker ended (exit status "
                             f"{self._process.wait()}), for the reason above; the other numbers are lost, run it again")
        self.peak = int(line)

    def close(self):
        self._process.kill()
        self._process.wait()
        self._errors.close()


def measure(backbone, size, args):
    """``compare``'s rows with 'peak_mib' and 'peak_ratio'."""
    sides = {name: Side(*SIDES[name], backbone, size, args) for name in args.sides}
    try:
        rows = compare({name: side.step for name, side in sides.items()}, args.rounds, warm_up=2, pause=0.3)
    finally:
        for side in sides.values():
            side.close()
    first = next(iter(sides.values())).peak
    for name, side in sides.items():
        rows[name].update(peak_mib=side.peak, peak_ratio=round(side.peak / first, 3))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["r18", "resnet18.timm"],
                        help="r18, or a timm name with .timm (its last three stages must have 128, 256, 512 channels)")
    parser.add_argument("--sizes", nargs="+", type=int, default=[320, 640])
    parser.add_argument("--sides", nargs="+", default=list(SIDES)[:2], choices=list(SIDES))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
    parser.add_argument("--amp", action="store_true", help="mixed precision (float16), on a GPU")
    parser.add_argument("--output", default="docs/benchmarks")
    parser.add_argument("--worker", choices=["ours", "torch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args)
        return
    found = {f"{backbone}, {size}x{size}, batch {args.batch}": measure(backbone, size, args)
             for backbone in args.backbones for size in args.sizes}
    facts = about("paddlepaddle", "paddlepaddle-gpu", "torch", "transformers", "timm")
    pages = [f"{', '.join(map(' '.join, facts.items()))}; {args.threads} threads\n"]
    for title, rows in found.items():
        peaks = ", ".join(f"{name} {row['peak_mib']} MiB ({row['peak_ratio']:.2f})" for name, row in rows.items())
        pages.append(f"### {title}\n\n{table(rows)}\n\nMost memory: {peaks}\n")
    print("\n".join(pages))
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / "training_step.json").write_text(json.dumps({"machine": facts, "steps": found}, indent=1) + "\n")
    (output / "training_step.md").write_text("\n".join(pages))
    bars(output / "training_step.png", found, "time, over torch")


if __name__ == "__main__":
    main()
