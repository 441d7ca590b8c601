# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""model.onnx in INT8 for OpenVINO, by its NNCF: backbone and encoder; the decoder stays in float32 (see ``cut``)."""
from __future__ import annotations

import argparse
import importlib.util
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import preprocess, program_check
from .deploy_error import DeployError
from .engines import ENGINES
from .exported_model import CONFIG, ExportedModel
from .media import find_images, read_image

NEEDED = ("openvino", "nncf")
INSTALL = 'python -m venv .venv-int8 && .venv-int8/bin/pip install "nncf>=3" openvino opencv-python-headless pyyaml'
PROGRAM = "model.xml"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of tools/quantize_model.py, by default this process's own."""
    parser = argparse.ArgumentParser(description="An exported model.onnx in INT8 for --engine openvino; no training, "
                                     "only pictures to see ranges on. Needs nncf, in an environment of its own.")
    parser.add_argument("--model_dir", required=True, help="folder written by tools/export_model.py --onnx")
    parser.add_argument("--image_dir", required=True, help="pictures like those to come, such as training pictures")
    parser.add_argument("--output_dir", help="where model.xml goes (default: the model's folder with _int8 after it)")
    parser.add_argument("--count", type=int, default=300, help="pictures that are looked at (default 300)")
    parser.add_argument("-v", "--verbose", action="store_true", help="show also what libraries say")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Quantize as the command line says."""
    args = parse_args(argv)
    output = args.output_dir or args.model_dir.rstrip("/") + "_int8"
    folder = quantize(args.model_dir, args.image_dir, output, args.count)
    print(f"next: python tools/eval.py -c CONFIG --model_dir={folder / 'model.xml'}, to see what it costs in AP")


def quantize(model_dir: str | Path, image_dir: str | Path, output_dir: str | Path, count: int = 300) -> Path:
    """Write ``output_dir``/{model.xml, model.bin, infer_cfg.yml} from the model.onnx in ``model_dir``.

    Post-training quantization: the ranges of values are seen on pictures, nothing is trained.

    Args:
        image_dir: a folder of pictures like those to come; its first ``count`` are taken, evenly spread.

    Returns:
        ``output_dir``.

    Raises:
        DeployError: a package is missing, there is no model.onnx or picture, or the model has no decoder.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        # NNCF 3 wants numpy 1.24 or newer, which paddledet 2.6.0 does not go with
        raise DeployError(f"quantization needs {' and '.join(missing)}, in an environment of its own: {INSTALL}")
    source = Path(model_dir)
    runtime = ENGINES["onnxruntime"]
    model = ExportedModel.open(source, runtime.find(source), runtime.files)
    if count < 1:
        raise DeployError(f"--count must be at least 1, not {count}")
    paths = find_images(image_dir=image_dir)
    paths = [paths[i] for i in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]
    program_check.check(model.program)
    whole = _quantized(model, paths)
    _write(whole, model.program.with_name(CONFIG), Path(output_dir))
    return Path(output_dir)


def _quantized(model, paths):
    import nncf
    import openvino

    from .openvino_cut import cut, join

    def read(path):
        return {"image": preprocess.apply(model.steps, read_image(path))[0][None]}

    picture, decoder = cut(openvino.Core().read_model(model.program))
    return join(nncf.quantize(picture, nncf.Dataset(paths, read), subset_size=len(paths)), decoder)


def _write(whole, config, target):
    import openvino

    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".int8.", dir=target) as folder:
            openvino.save_model(whole, Path(folder) / PROGRAM, compress_to_fp16=False)
            shutil.copy(config, folder)
            # the program last: it is what makes the folder a model
            for path in sorted(Path(folder).iterdir(), key=lambda path: path.name == PROGRAM):
                path.replace(target / path.name)
    except OSError as error:
        raise DeployError(f"--output_dir: cannot write to '{target}' ({error.strerror})") from None
