#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An exported model.onnx in INT8 for deploy_infer.py --engine openvino; no training, only pictures to see ranges on.

Needs nncf, openvino, numpy, opencv and pyyaml only; ppdet, Paddle and the rest of ppdet_ext are not imported.
"""
from deploy_infer import load_deploy, run

load_deploy()
from ppdet_ext_deploy.quantize import main, parse_args

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    run(main)
