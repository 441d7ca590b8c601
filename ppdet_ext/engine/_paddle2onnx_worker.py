# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Run by to_onnx.py, perhaps by another Python: a folder with model.json or model.pdmodel -> an .onnx file.

usage: _paddle2onnx_worker.py FOLDER FILE.onnx
"""
from __future__ import annotations

import sys
from pathlib import Path

# the first with grid_sample
OPSET = 16


def main(folder: Path, target: Path) -> None:
    """Write the .onnx file."""
    import paddle2onnx

    program = next(folder / name for name in ("model.json", "model.pdmodel") if (folder / name).is_file())
    # the default tool (polygraphy) installs further packages while it runs
    paddle2onnx.export(str(program), str(folder / "model.pdiparams"), str(target), opset_version=OPSET,
                       optimize_tool="None")


if __name__ == "__main__":
    # the folder of this file, whose modules have names that other packages' modules may have too
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).parent)]
    main(*map(Path, sys.argv[1:3]))
