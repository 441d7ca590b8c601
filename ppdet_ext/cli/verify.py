# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Verify a backbone: features, receptive fields, gradients, weights, parity with torch, export, image sizes.

Give a name of timm or torchvision/NAME, a class that --import registers, or a config. Exit code: 0 all is well, 1 a
check failed, 2 the command or its files are wrong.
"""
from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import setup
from ..config import flags
from ..startup.environment import logging_at

if TYPE_CHECKING:
    from ..verify.backbone_subject import Subject
    from ..verify.findings import Report

SIDE = 640


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = flags.config_parser(__doc__, needs_config=False)
    add = parser.add_argument
    add("--arch", metavar="NAME", help="in place of -c: resnet50, torchvision/resnet50, or a class that --import "
        "registers; -o then has its settings: -o pretrained=true out_indices=[1,2,3]")
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="height and width of the image (default: the config's "
        f"TestReader, else {SIDE} {SIDE})")
    add("--image", metavar="FILE", help="the picture to look at (default: a photograph that comes with scikit-image)")
    add("--allow", nargs="*", action="extend", default=[], metavar="PATTERN",
        help="names of parameters that may start from random values beside loaded ones: 'proj.*'")
    add("--output_dir", default="output/verify", help="where NAME.png and NAME.json go (default output/verify)")
    parser.set_defaults(device="cpu")
    args = parser.parse_args(argv)
    if bool(args.arch) == bool(args.config):
        parser.error("give either --arch NAME or -c CONFIG")
    if args.size and min(args.size) < 1:
        parser.error("--size takes two sides of at least 1")
    return args


def main(argv: Sequence[str] | None = None) -> Report:
    """Verify as the command line says; ends the process with code 1 where a check failed."""
    args = parse_args(argv)
    setup()
    from ..verify import feature_picture, input_picture, run_checks, show

    with logging_at(logging.ERROR, "ppdet_ext", "ppdet.engine"):  # the report says all else
        subject = _subject(args)
        image, pixels = input_picture.prepared(subject, args.image)
        report, stages = run_checks.verify(subject, image, args.allow)
    folder = Path(args.output_dir)
    stem = re.sub(r"[^\w.-]+", "--", report.name)
    written = [folder / f"{stem}.png", folder / f"{stem}.json"]
    feature_picture.write(report, stages, pixels, written[0])
    _write_json(report, written[1])
    show.show(report)
    print(f"written: {written[0]}, {written[1]}")
    print(report.verdict())
    if not report.passed:
        sys.exit(1)
    return report


def _subject(args: argparse.Namespace) -> Subject:
    from ..config import config_file
    from ..engine.export import image_shape
    from ..verify import backbone_subject as subject
    from . import prepare

    if args.config:
        cfg = prepare.read_cfg(args, "test")
        sides = image_shape(cfg) if cfg.get("TestReader") else [-1, -1]
        return subject.of_config(cfg, _size(args.size or [SIDE if side == -1 else side for side in sides]))
    for path in args.imports:
        prepare.import_file(path)
    cfg = {}
    prepare.set_device(cfg, args.device)
    return subject.of_name(args.arch, config_file.parse_options(args.opt), _size(args.size or [SIDE, SIDE]))


def _size(sides: Sequence[int]) -> tuple[int, int]:
    return (sides[0], sides[1])


def _write_json(report: Report, path: Path) -> None:
    from ..files import atomic_path

    content: dict[str, Any] = report.as_dict()
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
