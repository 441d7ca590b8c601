# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Weights converted, by three commands: a backbone's, a whole detector's, and an ONNX or TorchScript file.

convert backbone --arch cspresnet50 --checkpoint hub -o weights/cspresnet50.pdparams --verify
convert backbone --to torch --arch cspresnet50 --checkpoint output/best_model.pdparams --fill hub
convert detector --model rtdetr_r50vd --from torch --to hf rtdetr_r50vd.pth rtdetr_r50vd_hf --verify
convert onnx net.onnx -o converted/net
"""
from __future__ import annotations

import argparse
import functools
import logging
import sys
from collections.abc import Sequence
from typing import Callable

# what imports Paddle or numpy is loaded where a command runs: --help answers without them
from .. import setup
from ..checkpoints import PROJECTS
from ..config import flags
from ..errors import UserError
from ..x2paddle import SHAPE


def backbone_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``convert backbone``."""
    parser.add_argument("--arch", required=True, help="timm name, with or without tag, or torchvision/NAME")
    parser.add_argument("--to", choices=("paddle", "torch"), default="paddle", help="paddle (default): timm's or "
                        "torchvision's weights as .pdparams; torch: a trained .pdparams, a backbone's or a detector's, "
                        "as .safetensors")
    parser.add_argument("--checkpoint", help="FILE (.safetensors .pth .pt .bin .ckpt .pdparams, .index.json of "
                        "several), FOLDER, URL, hub (default), hf-hub:OWNER/NAME or package:NAME; with --to torch: a "
                        ".pdparams or .pdema")
    parser.add_argument("-o", "--output", help="default: where pretrained: true looks, "
                        "weights/ARCH.pdparams (weights: $PPDET_EXT_HOME); with --to torch beside it, ARCH.safetensors")
    parser.add_argument("--num-classes", type=int, help="classes of the checkpoint's head (default: the arch's own); "
                        "0 for a file without one")
    parser.add_argument("--part", default="", metavar="PREFIX",
                        help="what precedes the network's names in a file that holds more: teacher.backbone.")
    parser.add_argument("--fill", default="", metavar="CHECKPOINT",
                        help="with --to torch: FILE, hub or package:NAME for parts that a detector does without")
    parser.add_argument("--rename", default="", metavar="TABLE", help="table for another author's names, where it is "
                        "not found by itself")
    _shared(parser, "compare every stage with the torch model (needs torch)")


def detector_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``convert detector``."""
    parser.add_argument("source", metavar="IN", help="checkpoint: file, URL or transformers' folder")
    parser.add_argument("output", metavar="OUT", help=".pdparams, .pth or .safetensors, or a folder (--to hf)")
    parser.add_argument("--model", required=True, help="rtdetr_r50vd, rtdetrv2_r18vd_dsp, ... or a config file (.yml)")
    parser.add_argument("--to", required=True, choices=PROJECTS, help="whose checkpoint OUT becomes")
    parser.add_argument("--from", dest="origin", choices=PROJECTS, default="",
                        help="whose checkpoint IN is (default: found by its names)")
    parser.add_argument("--part", default="", metavar="PREFIX", help="the weights to take of several in IN: model "
                        "(default: the averaged ones, ema, where there are some)")
    parser.add_argument("--classes", default="", metavar="FILE", help="a COCO .json, or a .txt with one class name a "
                        "line, where IN does not name its classes")
    _shared(parser, "compare boxes and logits with transformers' network (needs torch and transformers)")


def onnx_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``convert onnx``."""
    parser.add_argument("model", metavar="FILE", help=".onnx, or TorchScript as .pt")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--input-shape", type=int, nargs=4, default=SHAPE, metavar=("N", "C", "H", "W"),
                        help="the image it converts with (default: %(default)s)")


def _shared(parser, verify):
    parser.add_argument("--verify", action="store_true", help=verify)
    parser.add_argument("--allow", nargs="*", default=[], action="extend", metavar="PATTERN",
                        help="names that may be missing, unexpected or of another shape: 'head.*'")


def backbone(args: argparse.Namespace) -> None:
    """Convert a backbone's weights, in the direction of ``--to``."""
    {"paddle": _to_paddle, "torch": _to_torch}[args.to](args)


def _to_paddle(args):
    from ..backbones import create_model, recognise
    from ..weights import convert_backbone, pretrained_weights, verify_backbone
    if args.fill:
        raise UserError("--fill belongs to --to torch")
    classes = {} if args.num_classes is None else {"num_classes": args.num_classes}
    output = args.output or pretrained_weights.converted_path(args.arch)
    convert_backbone.check_output(output)
    net = create_model(args.arch, **classes)
    cfg = recognise(args.checkpoint, net.pretrained_cfgs.values()) or net.pretrained_cfg
    report, converted = convert_backbone.convert(net, cfg, args.checkpoint or "hub", args.allow, args.rename, args.part)
    if args.verify:
        _show_parity(verify_backbone.verify(net, net.pretrained_cfg, converted.torch_state(net)))
    convert_backbone.write(report, converted, output)
    print(convert_backbone.summary(report, output))


def _to_torch(args):
    from ..backbones import create_model
    from ..weights import backbone_to_torch, pretrained_weights
    file = f"{pretrained_weights.file_name(args.arch)}{backbone_to_torch.SUFFIX}"
    output = args.output or pretrained_weights.home() / file
    backbone_to_torch.check_output(output)
    if not args.checkpoint:
        raise UserError("--to torch needs --checkpoint FILE: a .pdparams or .pdema")
    weights = backbone_to_torch.collect(functools.partial(create_model, args.arch), args.checkpoint, args.fill,
                                        args.part)
    if args.verify:
        _show_parity(backbone_to_torch.verify(weights))
    backbone_to_torch.write(weights, output)
    print(backbone_to_torch.summary(weights, output))


def _show_parity(rows):
    from ..weights import parity
    print(parity.table(rows))
    parity.check(rows)


def detector(args: argparse.Namespace) -> None:
    """Convert a whole detector's checkpoint from one project's files to another's."""
    from ..checkpoints import checkpoint_files, convert_detector, verify_detector
    from ..weights import parity
    checkpoint_files.check_output(args.to, args.output)
    found = convert_detector.convert(args.model, args.source, args.to, args.origin, args.part, args.allow, args.classes)
    if args.verify:
        rows, compared = verify_detector.check_parity(found)
        print("\n".join([parity.table(rows)] * bool(rows) + [f"{'verified:':12}{compared}"]))
    convert_detector.write(found, args.output)
    print(convert_detector.summary(found, args.output))


def onnx(args: argparse.Namespace) -> None:
    """Let x2paddle convert a model that comes without source code."""
    from ..x2paddle import convert_model
    outcome = convert_model.convert(args.model, args.output, [args.input_shape])
    print(convert_model.summary(outcome, args.output))


# subcommand -> (what it does, its flags, its body)
COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], None]]] = {
    "backbone": ("timm's or torchvision's weights to .pdparams, or trained ones back", backbone_arguments, backbone),
    "detector": ("a whole detector's checkpoint between three projects", detector_arguments, detector),
    "onnx": ("an ONNX or TorchScript file without source code, by x2paddle", onnx_arguments, onnx),
}
# how each was asked for before there were subcommands: (flag that only it had, subcommand)
BEFORE = (("--via", "onnx"), ("--arch", "backbone"), ("--model", "detector"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the three subcommands to ``parser``."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="{" + ",".join(COMMANDS) + "}")
    for name, (title, arguments, _) in COMMANDS.items():
        command = commands.add_parser(name, help=title, description=title)
        arguments(command)
        flags.add_verbose(command)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, ``sys.argv``'s where None; also as it was written before there were subcommands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    return parser.parse_args(with_command(list(sys.argv[1:] if argv is None else argv)))


def with_command(argv: list[str]) -> list[str]:
    """``argv`` with the subcommand that an older spelling means; unchanged where it names one.

    ``--via x2paddle --model FILE`` becomes ``onnx FILE``.
    """
    if not argv or argv[0] in (*COMMANDS, "-h", "--help"):
        return argv
    flags = [word.partition("=")[0] for word in argv]
    command = next((command for flag, command in BEFORE if flag in flags), None)
    if command is None:
        return argv
    if command == "onnx":
        old = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        old.add_argument("--via", choices=("x2paddle",))
        old.add_argument("--model", nargs=1, default=[])
        known, rest = old.parse_known_args(argv)
        argv = [*known.model, *rest]
    return [command, *argv]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (``sys.argv``'s where None).

    Raises:
        UserError: what the user can mend.
    """
    args = parse_args(argv)
    setup()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    COMMANDS[args.command][2](args)
