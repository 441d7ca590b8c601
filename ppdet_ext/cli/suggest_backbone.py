# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Suggest backbones that are like one: from the catalogue, within limits, with reasons and the YAML to paste.

python tools/suggest_backbone.py --like resnet50 --max-latency 1.2x --max-memory 8GB --licence apache-2.0
python tools/suggest_backbone.py --like resnet18 --each-kind --data dataset/digits --steps 200
"""
from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from ..config import flags
from ..errors import UserError

# of 10**9 bytes
GIGABYTES = {"": 1.0, "g": 1.0, "gb": 1.0, "gib": 1.073741824, "m": 1e-3, "mb": 1e-3, "mib": 0.001048576}
NEEDS = dict.fromkeys(("steps", "config", "device", "output", "pretrained"), "data")  # flag -> what it is about


def ratio(text: str) -> float:
    """'1.2x' or '1.2' -> 1.2 (argparse type)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)x?", text.strip().lower())
    if not found or not float(found.group(1)):
        raise argparse.ArgumentTypeError(f"'{text}' is no ratio; write 1.2x")
    return float(found.group(1))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_verbose(parser)
    add = parser.add_argument
    add("--like", required=True, metavar="NAME", help="a name of timm or torchvision: resnet50, torchvision/resnet50")
    add("--max-latency", type=ratio, metavar="1.2x", help="at most so many times its latency, as estimated")
    add("--max-memory", type=flags.amount_of_memory(GIGABYTES), metavar="8GB", help="of a training step of "
        "RT-DETR at 640 x 640, as estimated")
    add("--batch", type=flags.above_zero, default=4, help="of that training step (default: 4)")
    add("--licence", "--license", default="", metavar="GLOB", help="of the weights: apache-2.0, 'bsd*'")
    add("--without-torch", action="store_true", help="only networks that need no torch: native, or with a graph here")
    add("--count", type=flags.above_zero, default=6, help="suggestions (default: 6)")
    add("--each-kind", action="store_true", help="one network of each kind (convolutions, attention, ...), not the "
        "nearest of few families")
    data = parser.add_argument_group("try them: a short training each, of the same steps")
    add = data.add_argument
    add("--data", metavar="DIR_OR_FILE", help="a data set: COCO, VOC, YOLO or CSV, a folder or its file; 'sample': "
        "the one that the config names")
    add("-c", "--config", metavar="CONFIG", help="whose detector and readers (default: rtdetr_cspresnet.yml, a run of "
        "minutes at 128 pixels)")
    add("--steps", type=flags.above_zero, default=200, help="of each training (default: 200)")
    add("--pretrained", default="auto", metavar="true|auto|false", help="the backbones' own weights (default: auto, "
        "random where they cannot be had)")
    add("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: a GPU where there is one")
    add("--output", default="output/suggest", metavar="DIR", help="gets suggest.html, .md, .json, .png and what the "
        "trainings write")
    args = parser.parse_args(argv)
    flags.require_others(parser, args, NEEDS)
    return args


def main(argv: Sequence[str] | None = None) -> list[Any]:
    """Suggest as the command line says; the suggestions."""
    args = parse_args(argv)
    from ..choose import suggest

    limits = suggest.Limits(batch=args.batch, licence=args.licence, without_torch=args.without_torch,
                            **{key: value for key, value in (("latency", args.max_latency), ("memory", args.max_memory))
                               if value is not None})
    found = suggest.suggest(args.like, limits, args.count, args.each_kind)
    show(found, args.like)
    if args.data:
        try_out([args.like, *(one.arch for one in found)], args)
    else:
        from .commands import spelling
        names = " ".join([args.like, *(one.arch for one in found[:3])])
        print(f"\nnext: {spelling('compare')} --arch {names}   (measures latency and memory here)")
    return found


def show(found: Sequence[Any], like: str) -> None:
    """Print the suggestions: name, reasons, YAML."""
    for place, one in enumerate(found, 1):
        licence = one.weights.licence or "licence not said"
        print(f"{place}. {one.arch}   ({one.row.how}; weights {one.weights.tag}, {licence}; distance "
              f"{one.distance:.2f} from {like})")
        print(f"   {'; '.join(one.reasons)}")
        print("   " + one.section().replace("\n", "\n   "))


def try_out(names: Sequence[str], args: argparse.Namespace) -> None:
    """Train each for the same steps; print and write the table, the plot and which one to take."""
    from pathlib import Path

    from .. import setup
    setup()
    from ..choose import short_runs, trials
    from .prepare import set_device

    runs = short_runs.Runs(Path(args.output) / "train", args.config or short_runs.Runs.config,
                           None if args.data == "sample" else args.data, args.steps, args.pretrained,
                           set_device({}, args.device))
    rows = trials.table(short_runs.train(list(dict.fromkeys(names)), runs), args.like)
    paths = trials.write(rows, [short_runs.about(runs)], args.output)
    print(trials.as_markdown(rows, [short_runs.about(runs)]))
    print("written:", *paths)
    if all(row["status"] != "ok" for row in rows):
        raise UserError(f"no training succeeded; {rows[0]['name']}: {rows[0]['reason']}")
