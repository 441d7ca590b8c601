#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the bridge costs: memory of a conversion, time of a bridged network beside its native port, time of a trace.

OMP_NUM_THREADS=1 python benchmarks/bridge.py --output docs/bridge [--every 1]

Needs torch and timm, for tracing. Every figure is a ratio of things measured in the same run, but for the seconds of
tracing.

conversion  tools/convert_weights.py in a process of its own, on a checkpoint of random float32 numbers. The peak is the
            most memory the process ever held (VmHWM, pages of mapped files included) less what it held (VmRSS) with
            Paddle, ppdet_ext and the tool imported and nothing made; it is divided by the checkpoint's size in bytes.
            The network that the weights go into is part of it: about 1.
layers      the same network as native port and as bridged graph, with the same weights, called in turn: forward in eval
            mode without gradients, a training step (forward, backward of the features' mean square), and, exported at
            a fixed size, Paddle Inference. The time of a bridged one over that of the native one. Both run twice in
            each turn: the native one's second time over its first is what this machine's noise makes of 1. Times are
            the process's own (time.process_time), so run it with one thread.
tracing     the process's own seconds for all names of timm and torchvision, or for a sample of them.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from machine import memory
from side_by_side import compare

REPO = Path(__file__).resolve().parents[1]
CONVERSIONS = (("resnet50", "safetensors"), ("resnet50", "pth"), ("vit_small_patch16_224", "safetensors"),
               ("vit_small_patch16_224", "pth"), ("vit_base_patch16_224", "safetensors"))
LAYERS = ("resnet50", "cspresnet50", "efficientnet_b0", "mobilenetv3_small_100", "regnety_002", "hgnetv2_b0",
          "convnext_atto", "swin_tiny_patch4_window7_224")
SIZE, FIXED_SIZES = 320, {"swin_tiny_patch4_window7_224": 224}
LIMITS = {"conversion": 1.5, "layers": 1.05, "tracing": 15 * 60}
STEP = 60  # every 60th name is traced where --every does not say otherwise


def conversion(cases=CONVERSIONS):
    """Rows of peaks; the graphs of bridged networks are traced before, by the process that writes the checkpoint."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PPDET_EXT_HOME": folder}
        for arch, suffix in cases:
            checkpoint = Path(folder) / f"{arch}.{suffix}"
            _worker("--write", arch, str(checkpoint), env=environment)
            row = _worker("--convert", arch, str(checkpoint), env=environment)
            checkpoint.unlink()
            rows.append({"arch": arch, "format": suffix, **row})
            print(rows[-1], flush=True)
    return rows


def _worker(*arguments, env):
    done = subprocess.run([sys.executable, __file__, *arguments], env=env, text=True, capture_output=True, timeout=900)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def write_checkpoint(arch, path):
    """What timm would have saved of the network, random."""
    import numpy as np
    import safetensors.numpy
    import torch

    from ppdet_ext.backbones import create_model
    from ppdet_ext.weights.layout_rules import to_torch
    net = create_model(arch)
    tensors = to_torch({name: value.numpy() for name, value in net.state_dict().items()}, net)
    tensors = {name: np.require(value, requirements="C") for name, value in tensors.items()}
    if path.endswith(".safetensors"):
        safetensors.numpy.save_file(tensors, path)
    else:
        torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, path)
    return {"kind": type(net).__name__}


def convert_checkpoint(arch, path):
    """Memory that converting the checkpoint takes, in MiB."""
    import ppdet_ext
    from ppdet_ext.cli import convert_weights
    ppdet_ext.setup()
    from ppdet_ext.weights import convert_backbone  # noqa: F401  what the command imports when it runs
    Path("/proc/self/clear_refs").write_text("5")  # the peak of importing does not count
    before, size = memory("VmRSS"), os.path.getsize(path) / 2**20
    sys.argv = ["convert_weights.py", "backbone", "--arch", arch, "--checkpoint", path, "-o", f"{path}.pdparams"]
    convert_weights.main()
    peak = memory("VmHWM") - before
    return {"checkpoint_mib": round(size, 1), "imported_mib": round(before), "peak_mib": round(peak, 1),
            "ratio": round(peak / size, 3), "torch": "torch" in sys.modules}


def layers(names=LAYERS, rounds=21, training_rounds=9):
    """Rows of times: {arch, mode, native, bridged, native again: medians in ms, ratio, noise}."""
    from ppdet_ext import kernels
    rows = []
    for name in names:
        native, bridged = pair(name)
        image = picture(name)
        for mode, make, count in (("forward", forward, rounds), ("exported", exported, rounds),
                                  ("training step", training_step, training_rounds)):
            first, second = make(native, image), make(bridged, image)
            with kernels.enabled():
                results = compare({"native": first, "bridged": second, "native again": first, "bridged again": second},
                                  rounds=count, clock=time.process_time)
            rows.append({"arch": name, "mode": mode, "size": image.shape[-1], "ratio": results["bridged"]["ratio"],
                         "noise": results["native again"]["ratio"],
                         **{f"{key}_ms": result["median_ms"] for key, result in results.items()},
                         **(operations(first, second) if mode == "exported" else {})})
            print(rows[-1], flush=True)
    return rows


def pair(name):
    """The native port and the bridged graph of a network, with the same weights."""
    from ppdet_ext.backbones import create_model
    from ppdet_ext.backbones.traced import TracedNet
    from ppdet_ext.trace import from_torch
    native = create_model(name, features_only=True)
    bridged = TracedNet(from_torch.trace_timm(name), features_only=True)
    missing, unexpected = bridged.set_state_dict(native.state_dict())
    if missing or unexpected:
        raise SystemExit(f"error: {name}: native and bridged names differ: {(missing + unexpected)[:4]}")
    return native, bridged


def picture(name):
    import paddle
    paddle.seed(0)
    side = FIXED_SIZES.get(name, SIZE)
    return paddle.randn([1, 3, side, side])


def forward(net, image):
    import paddle
    net.eval()

    @paddle.no_grad()
    def run():
        net(image)
    return run


def training_step(net, image):
    net.train()

    def run():
        sum((feature * feature).mean() for feature in net(image)).backward()
        net.clear_gradients()
    return run


def exported(net, image):
    """A run of the network, exported for this image's shape, by Paddle Inference."""
    import paddle
    net.eval()
    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, "net")
        spec = [paddle.static.InputSpec(list(image.shape), "float32", name="image")]
        paddle.jit.save(paddle.jit.to_static(net, input_spec=spec, full_graph=True), prefix)
        run = Exported(prefix)
    net.forward = net.forward.dygraph_function if hasattr(net.forward, "dygraph_function") else net.forward
    run.predictor.get_input_handle("image").copy_from_cpu(image.numpy())
    return run


class Exported:
    """A predictor of an exported network, called without arguments; ``operations`` counts those of its program."""

    def __init__(self, prefix):
        import paddle
        program = next(path for path in (f"{prefix}.json", f"{prefix}.pdmodel") if os.path.exists(path))
        config = paddle.inference.Config(program, f"{prefix}.pdiparams")
        config.disable_glog_info()
        getattr(config, "disable_mkldnn", lambda: None)()  # as ppdet_ext.deploy without --enable_mkldnn
        config.set_cpu_math_library_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
        self.predictor = paddle.inference.create_predictor(config)
        self.operations = Counter(re.findall(r'"#":"(?:\d\.)?(\w+)"', Path(program).read_text()))

    def __call__(self):
        self.predictor.run()
        self.predictor.get_output_handle(self.predictor.get_output_names()[-1]).copy_to_cpu()


def operations(native, bridged):
    """Operations that one exported program has more often than the other."""
    return {"only_native": dict(native.operations - bridged.operations),
            "only_bridged": dict(bridged.operations - native.operations)}


def tracing(every=STEP):
    """The process's own seconds of tracing every so-many-th name of timm and torchvision, carried over to all."""
    from ppdet_ext.errors import UserError
    from ppdet_ext.sweep import measure, originals
    names, seconds, refused = originals.names(), [], {}
    for name in names[::every]:
        begin = time.process_time()
        try:
            measure.traced(name)
        except UserError as error:
            refused[name] = str(error)
        seconds.append(time.process_time() - begin)
    print(refused, flush=True)
    return {"names": len(names), "seconds": round(statistics.mean(seconds) * len(names)),
            "median": round(statistics.median(seconds), 2), "refused": refused,
            "traced": "all" if every == 1 else f"{len(seconds)} of them, carried over to all"}


def page(results):
    """The results as markdown."""
    lines = []
    if "conversion" in results:
        lines += ["| conversion of | checkpoint MiB | peak MiB | ratio |", "|---|---|---|---|"]
        lines += [f"| {row['arch']}.{row['format']} | {row['checkpoint_mib']} | {row['peak_mib']} | "
                  f"{_judged(row['ratio'], LIMITS['conversion'])} |" for row in results["conversion"]]
    if "layers" in results:
        lines += ["", "| network | mode | native ms | bridged ms | ratio | native again |", "|---|---|---|---|---|---|"]
        lines += [f"| {row['arch']} | {row['mode']} | {row['native_ms']} | {row['bridged_ms']} | "
                  f"{_judged(row['ratio'], LIMITS['layers'])} | {row['noise']} |" for row in results["layers"]]
    if "tracing" in results:
        row = results["tracing"]
        seconds = _judged(row["seconds"], LIMITS["tracing"])
        lines += ["", f"Tracing {row['names']} names ({row['traced']}): {seconds} s, median {row['median']} s."]
    return "\n".join(lines).strip() + "\n"


def _judged(value, limit):
    return f"{value}" if value <= limit else f"**{value}** (> {limit})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(LIMITS), default=list(LIMITS))
    parser.add_argument("--names", nargs="+", default=LAYERS, help="networks of the part layers")
    parser.add_argument("--rounds", type=int, default=21, help="of a forward; a third of it of a training step")
    parser.add_argument("--every", type=int, default=STEP, help=f"name is traced; 1 for all (default: {STEP})")
    parser.add_argument("--output", metavar="FOLDER", help="write speed.json and speed.md there")
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--convert", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    import ppdet_ext

    ppdet_ext.setup()
    if args.write or args.convert:
        print(json.dumps(write_checkpoint(*args.write) if args.write else convert_checkpoint(*args.convert)))
        return
    measures = {"conversion": conversion, "tracing": lambda: tracing(args.every),
                "layers": lambda: layers(args.names, args.rounds, max(3, args.rounds // 3))}
    results = {part: measures[part]() for part in args.parts}
    print(page(results))
    if args.output:
        folder = Path(args.output)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "speed.json").write_text(json.dumps(results, indent=1) + "\n")
        (folder / "speed.md").write_text(page(results))


if __name__ == "__main__":
    main()
