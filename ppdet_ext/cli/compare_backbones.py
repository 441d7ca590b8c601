# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Compare backbones under one detector: size, operations, latency, memory, accuracy of their weights, licence.

python tools/compare_backbones.py --arch resnet18 mobilenetv3_large_100 repvit_m1 --output output/compare
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from .. import setup
from ..config import flags

MEGABYTES = {"": 1.0, "m": 1.0, "mb": 1.0, "mib": 1.0, "g": 1024.0, "gb": 1024.0, "gib": 1024.0}  # of 2**20 bytes
NEEDS = {"confirm": "memory", "data": "train", "steps": "train", "pretrained": "train"}  # flag -> what it is about


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_verbose(parser)
    add = parser.add_argument
    add("--arch", nargs="+", default=[], metavar="NAME", help="timm's or torchvision's names, with or without a tag: "
        "resnet50 resnet50.a1_in1k torchvision/resnet50")
    add("--filter", nargs="+", default=[], metavar="GLOB", help="all names like these: 'resnet*' 'torchvision/*'")
    add("--catalogue", action="store_true", help="nothing is run: what is known of all names, or of those of "
        "--arch and --filter, at once")
    add("-c", "--config", metavar="CONFIG", help="whose detector and schedule (default: rtdetr_cspresnet_6x_coco.yml; "
        "for --train: rtdetr_cspresnet.yml, a run of minutes at 128 pixels)")
    add("--size", nargs="+", type=flags.above_zero, default=[640], metavar="SIDE", help="of the image: one side, or "
        "height and width (default: 640)")
    add("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: a GPU where there is one")
    add("--rounds", type=flags.above_zero, default=9, help="turns, in each of which every network runs once "
        "(default: 9)")
    add("--fp32-only", action="store_true", help="no latency in bfloat16")
    add("--batch", type=flags.above_zero, default=2, help="of the training step whose memory is measured (default: 2)")
    add("--memory", type=flags.amount_of_memory(MEGABYTES), metavar="8GB", help="find the largest training "
        "batch for it: measured at --batch and twice that, and extrapolated")
    add("--confirm", action="store_true", help="with --memory: then measure that batch, too")
    add("--train", action="store_true", help="short trainings of the same steps, for the column AP")
    add("--steps", type=flags.above_zero, default=200, help="with --train: how many (default: 200)")
    add("--data", metavar="DIR_OR_FILE", help="with --train: a data set: COCO, VOC, YOLO or CSV, a "
        "folder or its file (default: the sample data set)")
    add("--pretrained", default="auto", metavar="true|auto|false", help="with --train: the backbones' own weights "
        "(default: auto, random where they cannot be had)")
    add("--output", default="output/compare", metavar="DIR", help="gets compare.md, .csv, .json, .png")
    args = parser.parse_args(argv)
    if len(args.size) > 2:
        parser.error("--size takes one side, or height and width")
    if not args.arch and not args.filter and not args.catalogue:
        parser.error("name networks: --arch NAME ..., or --filter 'GLOB'; or --catalogue, for what is known of all")
    flags.require_others(parser, args, NEEDS)
    return args


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Compare as the command line says; the rows. Leaves the process with 1 where a network fails."""
    args = parse_args(argv)
    if args.catalogue:
        return from_catalogue(args)
    setup()
    from pathlib import Path

    from ..choose import comparing, comparison_table, known_names, short_runs, under_detector
    from ..files import require_writable
    from .prepare import set_device

    names = known_names.wanted(args.arch, args.filter)
    if args.config:
        under_detector.require_detr(args.config)
    require_writable(args.output)
    device = set_device({}, args.device)
    size = args.size * 2 if len(args.size) == 1 else args.size
    settings = comparing.Settings(args.config or comparing.Settings.config, (size[0], size[1]), device, args.rounds,
                                  not args.fp32_only, args.batch, args.memory, args.confirm)
    facts = comparing.about(settings)
    rows = comparing.compare(names, settings, lambda found: comparison_table.write(found, args.output, facts))
    if args.train:
        runs = short_runs.Runs(Path(args.output) / "train", args.config or short_runs.Runs.config, args.data,
                               args.steps, args.pretrained, device)
        facts.append(short_runs.about(runs))
        comparing.add_trainings(rows, short_runs.train([row["name"] for row in rows if row["status"] == "ok"], runs))
    paths = comparison_table.write(rows, args.output, facts)
    comparison_table.show(rows, facts)
    print("written:", *paths)
    if any(row["status"] != "ok" for row in rows):
        sys.exit(1)
    return rows


def from_catalogue(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Print the catalogue's rows that the command line names; the rows. Paddle is not loaded."""
    import dataclasses

    from ..choose import catalogue, catalogue_table

    names = [catalogue.find(name).name for name in args.arch]
    found = catalogue.rows([*names, *args.filter] or ["*"])
    catalogue_table.show(found)
    return [dataclasses.asdict(row) for row in found]
