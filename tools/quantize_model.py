#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An exported model.onnx in INT8 for deploy_infer.py --engine openvino; no training, only pictures to see ranges on.

Needs nncf, openvino, numpy, opencv and pyyaml only; ppdet, Paddle and the rest of ppdet_ext are not imported.
"""
import argparse
import sys

import deploy_infer


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", required=True, help="folder written by tools/export_model.py --onnx")
    parser.add_argument("--image_dir", required=True, help="pictures like those to come, such as training pictures")
    parser.add_argument("--output_dir", help="where model.xml goes (default: the model's folder with _int8 after it)")
    parser.add_argument("--count", type=int, default=300, help="pictures that are looked at (default 300)")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    output = args.output_dir or args.model_dir.rstrip("/") + "_int8"
    deploy = deploy_infer.load_by_path("ppdet_ext_deploy", deploy_infer.PACKAGE / "deploy" / "__init__.py")
    from ppdet_ext_deploy.quantize import quantize
    try:
        folder = quantize(args.model_dir, args.image_dir, output, args.count)
    except deploy.DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"next: python tools/eval.py -c CONFIG --model_dir={folder / 'model.xml'}, to see what it costs in AP")


if __name__ == "__main__":
    main()
