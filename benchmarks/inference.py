#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An exported RT-DETR in Paddle Inference, ONNX Runtime and OpenVINO, side by side on the same graph.

python benchmarks/inference.py --models r18 r50 --batches 1 8 --output docs/benchmarks

Exports with random weights (speed does not depend on them), ONNX file included, both verified against the trained
model. The engines take turns in one process, float32, the same number of threads, with a pause between them in which
their idle threads stop spinning; in each turn the second run counts, as in a service that keeps running. Writes
inference.json, .md and .png; --operations adds where Paddle spends its time.
"""
import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from machine import about
from side_by_side import bars, compare, table

REPO = Path(__file__).resolve().parents[1]
ENGINES = {"Paddle Inference, oneDNN": {"engine": "paddle", "enable_mkldnn": True},
           "Paddle Inference": {"engine": "paddle"},
           "ONNX Runtime": {"engine": "onnxruntime"},
           "OpenVINO": {"engine": "openvino"}}
ON_GPU = {"Paddle Inference": {"engine": "paddle"}, "ONNX Runtime": {"engine": "onnxruntime"}}
HALF = {"cpu": {"Paddle Inference, oneDNN": {"precision": "bf16"}, "OpenVINO": {"precision": "bf16"}},
        "gpu": {"Paddle Inference": {"run_mode": "trt_fp16"}}}
PAUSE = 0.3  # seconds; OpenMP's threads spin for 0.2


def export(model, size, folder):
    """The folder of a detector with random weights."""
    import ppdet_ext

    ppdet_ext.setup()
    from ppdet_ext import cli
    from ppdet_ext.engine.export import export_model
    from ppdet_ext.engine.trainer import Trainer

    config = REPO / "configs" / "rtdetr" / f"rtdetr_{model}vd_6x_coco.yml"
    parser = cli.config_parser(__doc__)
    parser.set_defaults(device="cpu")
    args = parser.parse_args(["-c", str(config), "-o", f"eval_size=[{size},{size}]", "export.fuse_conv_bn=True",
                              f"TestReader.inputs_def.image_shape=[3,{size},{size}]"])
    return export_model(Trainer(cli.load_cfg(args, "test"), "test"), folder, onnx=True)


def batch_of(count, size):
    rng = np.random.default_rng(0)
    return {"image": rng.random((count, 3, size, size), np.float32), "im_shape": np.full((count, 2), size, np.float32),
            "scale_factor": np.ones((count, 2), np.float32)}


def engines(device, half):
    """{name: options of a Predictor}."""
    chosen = dict(ENGINES if device == "cpu" else ON_GPU)
    halves = HALF[device] if half else {}
    return {**chosen, **{f"{name}, half precision": {**chosen[name], **more} for name, more in halves.items()}}


def measure(folder, batch, args):
    """Times of one model and batch, by engine."""
    from ppdet_ext.deploy import Predictor

    inputs = batch_of(batch, args.size)
    runs = {}
    for name, options in engines(args.device, args.half).items():
        predictor = Predictor(folder, device=args.device, cpu_threads=args.threads, batch_size=batch, **options)
        runs[name] = lambda predictor=predictor: predictor.run(inputs)
    return compare(runs, args.rounds, pause=PAUSE, untimed=1)


def operations(folder, size, threads, rounds=5):
    """{operation: share of the time} of Paddle Inference with oneDNN, by Paddle's profiler."""
    import paddle.profiler

    from ppdet_ext.deploy import Predictor

    predictor, inputs = Predictor(folder, engine="paddle", enable_mkldnn=True, cpu_threads=threads), batch_of(1, size)
    for _ in range(2):
        predictor.run(inputs)
    with paddle.profiler.Profiler(targets=[paddle.profiler.ProfilerTarget.CPU]) as profiler:
        for _ in range(rounds):
            predictor.run(inputs)
    with tempfile.TemporaryDirectory() as scratch:
        profiler.export(f"{scratch}/trace.json", format="json")
        events = json.loads(Path(scratch, "trace.json").read_text())["traceEvents"]
    times, calls = Counter(), Counter()
    for event in events:
        if event.get("cat") == "Operator" and event["name"].split("[")[0].partition(".")[0] in ("pd_op", "onednn_op"):
            name = event["name"].split("[")[0]
            times[name] += event["dur"] / 1e3 / rounds
            calls[name] += 1
    total = sum(times.values())
    return {name: {"calls": calls[name] // rounds, "ms": round(ms, 2), "share": round(ms / total, 4)}
            for name, ms in times.most_common()}


def operations_table(found, shown=14):
    lines = ["| operation | calls | ms | share |", "|---|---|---|---|"]
    rows = list(found.items())
    lines += [f"| {name} | {row['calls']} | {row['ms']} | {row['share']:.1%} |" for name, row in rows[:shown]]
    rest = sum(row["ms"] for _, row in rows[shown:]), sum(row["share"] for _, row in rows[shown:])
    return "\n".join([*lines, f"| {len(rows) - shown} others | | {rest[0]:.2f} | {rest[1]:.1%} |"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["r18", "r50"], choices=["r18", "r34", "r50", "r101"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--size", type=int, default=640, help="of the picture (default 640)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
    parser.add_argument("--half", action="store_true", help="half precision as well: bfloat16 by Paddle and OpenVINO "
                        "on a CPU, TensorRT's float16 on a GPU")
    parser.add_argument("--operations", action="store_true", help="Paddle's time by operation as well")
    parser.add_argument("--output", default="docs/benchmarks")
    args = parser.parse_args()
    results = {"machine": about("paddlepaddle", "paddlepaddle-gpu", "onnxruntime", "openvino"), "threads": args.threads,
               "size": args.size, "times": {}, "operations": {}}
    pages = []
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            exported = export(model, args.size, folder)
            for batch in args.batches:
                title = f"{model.upper()}, batch {batch}"
                results["times"][title] = measure(exported, batch, args)
                pages.append(f"### {title}\n\n{table(results['times'][title])}\n")
                print(pages[-1], flush=True)
            if args.operations:
                results["operations"][model] = operations(exported, args.size, args.threads)
                pages.append(f"### {model.upper()}, batch 1: Paddle's time by operation\n\n"
                             f"{operations_table(results['operations'][model])}\n")
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / "inference.json").write_text(json.dumps(results, indent=1) + "\n")
    (output / "inference.md").write_text("\n".join([f"{', '.join(map(' '.join, results['machine'].items()))}; "
                                                    f"{args.threads} threads, {args.size}x{args.size}, float32\n",
                                                    *pages]))
    bars(output / "inference.png", results["times"], "time, over Paddle with oneDNN")


if __name__ == "__main__":
    main()
