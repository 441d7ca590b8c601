# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Flags that the command-line tools share.

Stands alone (standard library only), so that ``--help`` and a mistyped flag are answered before Paddle is loaded.
"""
from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping

DEVICES = ("gpu", "npu", "xpu", "mlu")
#: what --visualize of infer.py can show beside boxes, see ``engine.looks``
LOOKS = ("features", "sampling", "attention")
#: see ``engine.progress``
PROGRESS = ("auto", "rich", "plain")


def boolean(text: str) -> bool:
    """'true', 'yes', 'on', '1' and their opposites, in any case -> bool (argparse type)."""
    try:
        return {"true": True, "yes": True, "on": True, "1": True,
                "false": False, "no": False, "off": False, "0": False}[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false") from None


def above_zero(text: str) -> int:
    """A whole number from 1 (argparse type)."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number above 0")
    return int(text)


def amount_of_memory(units: Mapping[str, float]) -> Callable[[str], float]:
    """An argparse type: '8GB', '600MB' -> how many of what ``units`` count.

    Args:
        units: {unit in small letters, '' for none: its size}.
    """
    def amount(text: str) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
        if not found or found.group(2) not in units or not float(found.group(1)):
            raise argparse.ArgumentTypeError(f"'{text}' is no amount of memory; write 8GB or 600MB")
        return float(found.group(1)) * units[found.group(2)]
    return amount


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """``-v``, of every tool; it is ``startup.quiet`` that looks for it, before anything is loaded."""
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="show also what libraries say and nobody can act on (or: PPDET_EXT_VERBOSE=1)")


def add_progress(parser: argparse.ArgumentParser) -> None:
    """``--progress``, of what trains and evaluates."""
    parser.add_argument("--progress", choices=PROGRESS, help="one line that moves (rich), or "
                        "PaddleDetection's log lines (plain); auto, the default: the line on a terminal")


def require_others(parser: argparse.ArgumentParser, args: argparse.Namespace, needs: Mapping[str, str]) -> None:
    """End with the parser's error where a flag is given without the one that it says something about: {flag: other}."""
    for flag, needed in needs.items():
        if getattr(args, flag) != parser.get_default(flag) and not getattr(args, needed):
            parser.error(f"--{flag} says something about --{needed}, which is not there")


def looks(text: str) -> bool | tuple[str, ...]:
    """A boolean, or names of LOOKS with commas between (argparse type)."""
    names = tuple(name.strip() for name in text.split(","))
    if set(names) <= set(LOOKS):
        return tuple(dict.fromkeys(names))
    try:
        return boolean(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false nor some of {','.join(LOOKS)}") from None


def add_switch(parser: argparse.ArgumentParser, name: str, help: str, default: bool | None = None) -> None:
    """A boolean flag that works as ``--x``, ``--x=True`` and ``--x False`` (PaddleDetection uses all three)."""
    parser.add_argument(name, nargs="?", const=True, default=default, type=boolean, metavar="BOOL", help=help)


def add_slice_flags(parser: argparse.ArgumentParser) -> None:
    """``--slice_infer`` and its settings; as in tools/deploy_infer.py, which must not import anything of this."""
    add = parser.add_argument
    add_switch(parser, "--slice_infer", "cut pictures into overlapping slices and merge, for small objects")
    add("--slice_size", type=int, nargs=2, default=[640, 640], metavar=("W", "H"), help="width and height of a slice")
    add("--overlap_ratio", type=float, nargs=2, default=[0.25, 0.25], metavar=("X", "Y"), help="overlap of slices")
    add("--combine_method", default="nms", choices=("nms", "concat"), help="how the slices' boxes are merged")
    add("--match_threshold", type=float, default=0.6, help="overlap from which nms drops the lower score")
    add("--match_metric", default="ios", choices=("iou", "ios"), help="overlap over union, or over the smaller box")


def add_data_flag(parser: argparse.ArgumentParser, more: str = "") -> None:
    """``--data``, the one flag for a user's own data set."""
    parser.add_argument("--data", metavar="DIR_OR_FILE", help="your data set, as it is: COCO, VOC, YOLO or CSV (a "
                        "folder, or its .json, .yaml or .csv); goes before the config's data sets, classes and "
                        f"metric{more}")


def config_parser(description: str | None, needs_config: bool = True) -> argparse.ArgumentParser:
    """Parser with ``-c``, ``-o``, ``--import`` and ``--device``; ``needs_config`` False: ``-c`` may be left out."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-c", "--config", required=needs_config,
                        help="config file (.yml), or a name in the package's configs/")
    parser.add_argument("-o", "--opt", nargs="*", action="extend", default=[], metavar="KEY=VALUE",
                        help="config values to override: -o epoch=10 TrainReader.batch_size=4")
    parser.add_argument("--import", dest="imports", action="append", default=[], metavar="FILE.py",
                        help="runs this file, for the @register classes that the config names; nothing else that "
                        "you name is run, so give only files that you trust; may be given several times")
    parser.add_argument("--device", choices=("auto", "cpu", *DEVICES), default="auto",
                        help="where to run; auto: the GPU if the config does not forbid it and one is there")
    add_verbose(parser)
    return parser
