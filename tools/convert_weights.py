# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Convert timm or torchvision weights to .pdparams, with their metadata beside them.

python tools/convert_weights.py --arch cspresnet50 --checkpoint hub -o weights/cspresnet50.pdparams --verify
"""
import argparse
import logging

from ppdet_ext.backbones import create_model
from ppdet_ext.bridge import convert, load, parity
from ppdet_ext.bridge.rules import RENAMES
from ppdet_ext.cli import run


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", required=True, help="timm name, with or without tag, or torchvision/NAME")
    parser.add_argument("--checkpoint", default="hub",
                        help="FILE (.safetensors .pth .pt .bin .pdparams), URL, hub (default) or package:NAME")
    parser.add_argument("-o", "--output", help="default: where pretrained: true looks, "
                        "weights/ARCH.pdparams (weights: $PPDET_EXT_HOME)")
    parser.add_argument("--verify", action="store_true", help="compare every stage with the torch model (needs torch)")
    parser.add_argument("--allow", nargs="*", default=[], action="extend", metavar="PATTERN",
                        help="names that may be missing, unexpected or of another shape: 'head.*'")
    parser.add_argument("--rename", default="", metavar="TABLE", help=f"rename table: {', '.join(RENAMES)}")
    parser.add_argument("--num-classes", type=int, help="classes of the checkpoint's head (default: the arch's own)")
    return parser.parse_args()


def main():
    args = parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    classes = {} if args.num_classes is None else {"num_classes": args.num_classes}
    output = args.output or load.converted_path(args.arch)
    convert.check_output(output)
    net = create_model(args.arch, **classes)
    report, converted = convert.convert(net, net.pretrained_cfg, args.checkpoint, args.allow, args.rename)
    if args.verify:
        rows = convert.verify(net, net.pretrained_cfg, converted)
        print(parity.table(rows))
        parity.check(rows)
    convert.write(report, converted, output)
    print(convert.summary(report, output))


if __name__ == "__main__":
    run(main)
