# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The same networks through x2paddle (TorchScript and ONNX) and through the bridge: what converts, with what parity.

X2PADDLE_PYTHON=/path/to/env/bin/python python benchmarks/x2paddle_vs_bridge.py [--only x2paddle|bridge] [NAME ...]

The environment of X2PADDLE_PYTHON needs x2paddle, torch, torchvision, timm, onnx<1.19 and onnxruntime; default: this
one. Weights are random with BatchNorm statistics of one batch; attention is exported in plain operators, since torch
cannot write the fused one at opset 13. Results land in docs/x2paddle.json and in the tables of docs/x2paddle.md and
docs/x2paddle_cn.md, one row a network; rows that a run does not make anew stay.
"""
import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

DOCS = Path(__file__).parents[1] / "docs"
NAMES = ("resnet50", "cspresnet50", "efficientnet_b0", "mobilenetv3_large_100", "regnety_002", "repvit_m0_9",
         "convnext_atto", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224", "deit_tiny_patch16_224",
         "maxvit_tiny_tf_224", "torchvision/resnet18")
SHAPES = ((1, 3, 224, 224), (2, 3, 224, 224), (2, 3, 192, 256))
# column -> the files that are tried in turn until one converts; ONNX in two versions, since x2paddle lacks an operator
# that 14 brought (HardSwish), and takes the attention of 15 but not that of 13
FORMATS = {"torchscript": ("net.pt",), "onnx": ("opset13.onnx", "opset15.onnx")}
BEGIN, END = "<!-- table: benchmarks/x2paddle_vs_bridge.py -->", "<!-- end of table -->"
LIMIT = 1e-4


class Words(NamedTuple):
    """What the table says, in one language."""

    columns: str
    failed: str = "no, {}"
    step: str = "at '{}': {}"
    errors: str = "{}; batch 2 {}; other size {}"
    source: str = "source refuses"
    unknown: str = "not compared"
    fails: str = "fails"
    wrong: str = "wrong"


ENGLISH = Words("| network | x2paddle, TorchScript | x2paddle, ONNX | bridge |")
# page -> the words of its table
PAGES = {"x2paddle.md": ENGLISH,
         "x2paddle_cn.md": Words("| 网络 | x2paddle(TorchScript) | x2paddle(ONNX) | 桥 |", failed="失败,{}",
                                 step="步骤 '{}':{}", errors="{};batch 2:{};其他尺寸:{}", source="原网络不支持",
                                 unknown="未比较", fails="失败", wrong="错误")}


def export(name, folder):
    """Write the network's features as TorchScript and ONNX, its weights and reference features. Runs where torch is."""
    import torch
    model = random_model(torch, name)
    features = Features(model, name)
    images = [torch.from_numpy(image) for image in test_images()]
    report = {}
    with torch.no_grad():
        for file in (file for files in FORMATS.values() for file in files):
            try:
                export_file(torch, features, images[0], folder / file)
            except Exception as error:  # torch's exporters fail in many ways
                report[file] = f"torch cannot export it: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        references = {}
        for index, image in enumerate(images):
            with contextlib.suppress(Exception):  # made for one size
                references.update({f"{index}_{i}": value.numpy() for i, value in enumerate(features(image))})
    torch.save(model.state_dict(), folder / "weights.pth")
    np.savez(folder / "reference.npz", **references)
    (folder / "export.json").write_text(json.dumps(report))


def export_file(torch, features, image, path):
    """TorchScript, or ONNX of the opset in the file's name with free sizes."""
    if path.suffix == ".pt":
        return torch.jit.trace(features, image, check_trace=False).save(str(path))
    axes = {"image": {0: "n", 2: "h", 3: "w"}}
    return torch.onnx.export(features, image, str(path), dynamo=False, opset_version=int(path.stem[len("opset"):]),
                             input_names=["image"], dynamic_axes=axes)


def random_model(torch, name):
    """The source library's network in eval mode: BatchNorm statistics moved, nothing left at zero or one."""
    import timm
    import torchvision
    torch.manual_seed(0)
    timm.layers.set_fused_attn(False)
    library, _, plain = name.rpartition("/")
    model = torchvision.models.get_model(plain, weights=None) if library else timm.create_model(name)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter.add_(torch.rand_like(parameter) * 0.2)
        for norm in norms:
            norm.momentum = None  # the statistics are then those of this batch, not a tenth of them
        model.train()(torch.randn(4, *SHAPES[0][1:]))
    return model.eval()


def Features(model, name):
    """A module whose forward gives the feature maps [B, C, H, W] as a tuple."""
    import torch

    class TimmFeatures(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, image):
            return tuple(self.model.forward_intermediates(image, intermediates_only=True))

    if not name.startswith("torchvision/"):
        return TimmFeatures().eval()
    from torchvision.models.feature_extraction import create_feature_extractor
    taken = create_feature_extractor(model, ["relu", "layer1", "layer2", "layer3", "layer4"])

    class TorchvisionFeatures(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = taken

        def forward(self, image):
            return tuple(self.model(image).values())

    return TorchvisionFeatures().eval()


def test_images():
    """As the worker of ppdet_ext.x2paddle.convert_model makes them."""
    return [np.random.RandomState(index).randn(*shape).astype(np.float32) for index, shape in enumerate(SHAPES)]


def by_x2paddle(folder, kind, python):
    """One cell: of the first file that converts, else of the last."""
    for file in FORMATS[kind]:
        result = {"file": file, **convert_file(folder, file, python)}
        if "failed" not in result:
            break
    return result


def convert_file(folder, file, python):
    """Error by shape, or why there is none."""
    from ppdet_ext.errors import UserError
    from ppdet_ext.x2paddle import convert_model
    path, begin = folder / file, time.time()
    failed = json.loads((folder / "export.json").read_text()).get(file)
    if failed:
        return {"failed": failed}
    try:
        outcome = convert_model.convert(path, folder / f"out_{path.stem}", SHAPES, python)
    except UserError as error:
        return {"failed": getattr(error, "reason", str(error)), "step": getattr(error, "step", "parity")}
    first = max(row.error for row in outcome.rows) if outcome.rows else "not compared"
    return {"errors": [first, *outcome.others.values()], "seconds": round(time.time() - begin, 1),
            "versions": outcome.versions}


def by_bridge(folder, name):
    """The same through create_model, with the same weights and images."""
    import ppdet_ext

    ppdet_ext.setup()
    import paddle

    from ppdet_ext.backbones import create_model
    from ppdet_ext.errors import UserError
    from ppdet_ext.weights import parity
    begin, errors = time.time(), []
    try:
        net = create_model(name, features_only=True, checkpoint_path=str(folder / "weights.pth"))
    except UserError as error:
        return {"failed": " ".join(str(error).split())}
    net.eval()
    seconds = round(time.time() - begin, 1)
    with np.load(folder / "reference.npz") as references, paddle.no_grad():
        for index, image in enumerate(test_images()):
            theirs = [references[key] for key in references if key.startswith(f"{index}_")]
            if not theirs:
                errors.append("fails at 'reference': the source itself does not take this size")
                continue
            try:
                rows = parity.compare_stages(net(paddle.to_tensor(image)), theirs)
                errors.append(max(row.error for row in rows))
            except (UserError, ValueError) as error:
                errors.append(f"fails at 'run': {' '.join(str(error).split())}")
    return {"errors": errors, "seconds": seconds, "kind": type(net).__name__}


def one(name, python, only):
    """The cells of one network."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        done = subprocess.run([python, str(Path(__file__).resolve()), "--export", str(folder), name], text=True,
                              capture_output=True, timeout=900)
        if done.returncode:
            raise SystemExit(f"error: {name} cannot be exported: {done.stderr.strip().splitlines()[-1]}")
        cells = {}
        for kind in FORMATS if only != "bridge" else ():
            cells[kind] = by_x2paddle(folder, kind, python)
        if only != "x2paddle":
            cells["bridge"] = by_bridge(folder, name)
    return cells


def cell(result, words=ENGLISH):
    """A cell as markdown: the worst error at the size of conversion, then what the other shapes give."""
    if result is None:
        return ""
    if "failed" in result:
        reason = " ".join(result["failed"].replace("|", "/").split())[:150]
        return words.failed.format(words.step.format(result["step"], reason) if "step" in result else reason)
    return words.errors.format(*(_value(error, words) for error in result["errors"]))


def _value(error, words):
    if isinstance(error, str):
        return words.source if "'reference'" in error else words.unknown if error == "not compared" else words.fails
    return f"{error:.0e}" if error <= LIMIT else f"**{words.wrong} ({error:.0e})**"


def write(results):
    """docs/x2paddle.json and the tables in the pages."""
    (DOCS / "x2paddle.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, words in PAGES.items():
        write_table(DOCS / name, words, results)


def write_table(page, words, results):
    """One page's table; the text around it stays."""
    lines = [words.columns, "|---|---|---|---|"]
    lines += [f"| {name} | " + " | ".join(cell(cells.get(kind), words) for kind in (*FORMATS, "bridge")) + " |"
              for name, cells in results.items()]
    text = page.read_text(encoding="utf-8") if page.is_file() else f"{BEGIN}\n{END}\n"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(before + "\n".join([BEGIN, *lines, END]) + after, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: a dozen of different kinds")
    parser.add_argument("--only", choices=("x2paddle", "bridge"), help="leave the other half's columns as they are")
    parser.add_argument("--export", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.export:
        return export(args.names[0], Path(args.export))
    python = os.environ.get("X2PADDLE_PYTHON") or sys.executable
    path = DOCS / "x2paddle.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    for name in args.names or NAMES:
        begin = time.time()
        results[name] = {**results.get(name, {}), **one(name, python, args.only)}
        write({key: results[key] for key in (*NAMES, *results) if key in results})
        print(f"{name} ({time.time() - begin:.0f} s): " + "; ".join(
            f"{kind}: {cell(result)}" for kind, result in results[name].items()), flush=True)


if __name__ == "__main__":
    main()
