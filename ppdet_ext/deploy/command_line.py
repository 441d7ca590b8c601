# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detect with an exported model: pictures, a folder, a video or a camera.

Takes the flags of PaddleDetection's deploy/python/infer.py that concern a detector. Needs numpy, opencv, pyyaml and the
engine's package. This file needs the standard library only, so that its flags are answered before anything loads.
"""
from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

TYPE_CHECKING = False  # typing itself takes a fifth of the time of --help
if TYPE_CHECKING:
    from typing import NoReturn

# flag -> the least and the largest value; also of a Predictor's options
LIMITS = {"batch_size": (1, 65536), "cpu_threads": (1, 1024), "camera_id": (-1, 9999), "slice_size": (1, 1 << 20),
          "trt_min_shape": (1, 16384), "trt_max_shape": (1, 16384), "trt_opt_shape": (1, 16384)}


def one_line(text: str, most: int = 1000) -> str:
    """``text`` as one line that a terminal shows as it is: control signs escaped, the middle of a long one left out."""
    text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return text if len(text) <= most else f"{text[:most // 2]} ... {text[-most // 2:]}"


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a value in one line; what is missing or unknown, with the usage."""

    def error(self, message: str) -> NoReturn:
        """Leave the process with code 2."""
        if not message.startswith("argument "):
            super().error(one_line(message))
        self.exit(2, f"error: {one_line(message)}; --help shows the flags\n")


def boolean(text: str) -> bool:
    """True for true, 1, yes, on; False for false, 0, no, off; in any case."""
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false")
    return words[text.lower()]


def outside(name: str, value: object) -> str:
    """What is wrong with the value of the flag ``name`` by LIMITS: ' must be ...'; empty where nothing is."""
    least, most = LIMITS[name]
    if isinstance(value, bool) or not isinstance(value, int):
        return f"must be a whole number, not {value!r}"
    bound = f"at least {least}" if value < least else f"at most {most}" if value > most else ""
    return bound and f"must be {bound}, not {value}"


def whole(name: str) -> Callable[[str], int]:
    """An argparse type: a whole number within LIMITS[name]."""
    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, not '{text[:80]}'") from None
        wrong = outside(name, value)
        if wrong:
            raise argparse.ArgumentTypeError(wrong)
        return value
    return convert


def between(least: float, most: float) -> Callable[[str], float]:
    """An argparse type: a number from ``least`` to ``most``."""
    return lambda text: _number(text, lambda value: least <= value <= most, f"a number from {least:g} to {most:g}")


def share(text: str) -> float:
    """An argparse type: a number from 0 to 1."""
    return between(0, 1)(text)


def overlap(text: str) -> float:
    """An argparse type: a number from 0, below 1."""
    return _number(text, lambda value: 0 <= value < 1, "at least 0 and below 1")


def _number(text, good, wanted):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not good(value):
        raise argparse.ArgumentTypeError(f"must be {wanted}, not '{text[:80]}'")
    return value


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line: PaddleDetection's names and defaults, except that --cpu_threads takes all cores."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_dir", required=True, help="folder written by tools/export_model.py, or an .onnx file in it")
    add("--engine", help="paddle, onnxruntime or openvino (default: the first of them that reads the model)")
    add("--image_file", help="a picture")
    add("--image_dir", help="a folder of pictures")
    add("--video_file", help="a video, or an http, https or rtsp address of one; goes before pictures")
    add("--camera_id", type=whole("camera_id"), default=-1,
        help="a camera's number; goes before everything; Ctrl-C ends it")
    add("--batch_size", type=whole("batch_size"), default=1, help="pictures or frames that run together (default 1)")
    add("--threshold", type=share, default=0.5, help="least score of what is drawn and printed (default 0.5)")
    add("--output_dir", default="output", help="where results go (default output)")
    _add_booleans(parser, (
        ("run_benchmark", False, "time one batch: 10 runs to warm up, 100 that count"),
        ("save_images", True, "write pictures or the video with boxes"),
        ("save_results", False, "write bbox.json: COCO results of all boxes, whatever their score"),
        ("use_coco_category", False, "bbox.json with COCO's category numbers, and image numbers from file names")))
    add_engine_flags(parser)
    add("--slice_infer", action="store_true", help="cut pictures into overlapping slices and merge, for small objects")
    add("--slice_size", type=whole("slice_size"), nargs=2, default=[640, 640], metavar=("W", "H"),
        help="width and height of a slice")
    add("--overlap_ratio", type=overlap, nargs=2, default=[0.25, 0.25], metavar=("X", "Y"), help="overlap of slices")
    add("--combine_method", default="nms", choices=("nms", "concat"), help="how the slices' boxes are merged")
    add("--match_threshold", type=share, default=0.6, help="overlap from which nms drops the lower score")
    add("--match_metric", default="ios", choices=("iou", "ios"), help="overlap over union, or over the smaller box")
    add("-v", "--verbose", action="store_true", help="show also what libraries say and nobody can act on")
    args = parser.parse_args(argv)
    check_shapes(parser, args)
    return args


def _add_booleans(parser: argparse.ArgumentParser, rows: Sequence[tuple[str, bool, str]]) -> None:
    for name, default, text in rows:
        parser.add_argument(f"--{name}", type=boolean, nargs="?", const=True, default=default, metavar="BOOL",
                            help=f"{text} (default {default})")


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """How the model runs: the fields of ``engines.Options`` but ``engine`` and ``batch_size``, which a tool words."""
    add = parser.add_argument
    add("--precision", default="fp32", help="fp32, or bf16: backbone and encoder in bfloat16, on processors that have "
        "it, by paddle or openvino (default fp32)")
    add("--run_mode", default="paddle", help="paddle, trt_fp32, trt_fp16 or trt_int8 (default paddle)")
    add("--device", default="cpu", help="CPU, GPU, XPU, NPU or MLU (default CPU)")
    add("--cpu_threads", type=whole("cpu_threads"), help="threads on the CPU (default: all cores)")
    _add_booleans(parser, (
        ("enable_mkldnn", False, "oneDNN on the CPU"),
        ("enable_mkldnn_bfloat16", False, "as --precision bf16, by oneDNN"),
        ("trt_calib_mode", False, "TensorRT int8 calibration"),
        ("collect_trt_shape_info", False, "collect the shapes for TensorRT into --tuned_trt_shape_file")))
    for name, side in (("min", 1), ("max", 1280), ("opt", 640)):
        add(f"--trt_{name}_shape", type=whole(f"trt_{name}_shape"), default=side,
            help=f"TensorRT's {name} side (default {side})")
    add("--tuned_trt_shape_file", default="shape_range_info.pbtxt", help="shapes for TensorRT, used where it exists")


def check_shapes(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with the parser's error where TensorRT's sides do not rise."""
    if not args.trt_min_shape <= args.trt_opt_shape <= args.trt_max_shape:
        parser.error("argument --trt_min_shape: with --trt_opt_shape and --trt_max_shape it must rise, not "
                     f"{args.trt_min_shape}, {args.trt_opt_shape}, {args.trt_max_shape}")
