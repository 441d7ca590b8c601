# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Run by test_onnx.py in an environment of its own: exported model -> ONNX file -> outputs of ONNX Runtime.

usage: onnx_worker.py MODEL_DIR INPUTS.npz OUTPUTS.npz
"""
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def convert(model_dir, target):
    """docs/deploy.md's command."""
    program = next(name for name in ("model.json", "model.pdmodel") if (model_dir / name).is_file())
    command = Path(sys.executable).with_name("paddle2onnx")
    subprocess.run([command, "--model_dir", model_dir, "--model_filename", program, "--params_filename",
                    "model.pdiparams", "--save_file", target, "--opset_version", "16", "--optimize_tool", "None"],
                   check=True)


def main(model_dir, inputs, outputs):
    target = outputs.with_suffix(".onnx")
    convert(model_dir, target)
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    feed = dict(np.load(inputs))
    found = session.run(None, {entry.name: feed[entry.name] for entry in session.get_inputs()})
    np.savez(outputs, bbox=found[0], bbox_num=found[1])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
