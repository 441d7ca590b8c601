# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``ppdet-ext COMMAND ...``: every tool as one installed command, from a table."""
from __future__ import annotations

import argparse
import importlib
import io
import sys
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import UserError, nearest
from . import run

PROGRAM = "ppdet-ext"


class Command(NamedTuple):
    """A row: the command's name, its module below ``ppdet_ext``, the same as a file in tools/, what it does."""

    name: str
    module: str
    tool: str
    help: str
    help_cn: str


COMMANDS = (
    Command("train", "cli.train", "train", "train a detector", "训练检测器"),
    Command("eval", "cli.eval", "eval", "AP of a checkpoint or of an exported model", "评估检查点或导出模型的 AP"),
    Command("infer", "cli.infer", "infer", "detect on pictures with a checkpoint", "用检查点检测图片"),
    Command("export", "cli.export_model", "export_model", "checkpoint to Paddle Inference and ONNX",
            "导出为 Paddle Inference 和 ONNX"),
    Command("deploy", "cli.deploy_infer", "deploy_infer", "detect with an exported model", "用导出模型检测"),
    Command("batch", "cli.batch_infer", "batch_infer", "detect on many pictures with an exported model, by Ray",
            "用导出模型检测大量图片 (Ray)"),
    Command("demo", "cli.demo", "demo", "a page to look at exported models, one or two side by side",
            "查看导出模型的网页，可并排比较两个"),
    Command("serve", "cli.serve", "serve", "a server of exported models: pictures by HTTP, boxes as JSON (Ray Serve)",
            "导出模型的服务:HTTP 发送图片,JSON 返回检测框 (Ray Serve)"),
    Command("runs", "cli.browse_runs", "browse_runs", "a page of the runs in a folder, sortable",
            "一个文件夹中所有训练的网页，可排序"),
    Command("quantize", "deploy.quantize", "quantize_model", "model.onnx to INT8 for OpenVINO",
            "把 model.onnx 量化为 OpenVINO 的 INT8"),
    Command("convert", "cli.convert_weights", "convert_weights", "weights of backbones and detectors, both ways",
            "双向转换骨干网络和检测器的权重"),
    Command("swap", "cli.swap_backbone", "swap_backbone", "another backbone under a trained detector",
            "给训练好的检测器换骨干网络"),
    Command("sample-data", "cli.make_sample_dataset", "make_sample_dataset", "write the sample data set",
            "生成示例数据集"),
    Command("convert-data", "cli.convert_dataset", "convert_dataset", "a data set in another layout: COCO, VOC, YOLO",
            "把数据集转换为 COCO、VOC 或 YOLO 结构"),
    Command("check-data", "cli.check_dataset", "check_dataset", "look a data set over; --fix writes a mended copy",
            "训练前检查数据集;--fix 写出修正后的副本"),
    Command("browse-data", "cli.browse_dataset", "browse_dataset", "a grid of pictures after the training transforms",
            "训练变换之后的图片网格,带框"),
    Command("verify", "cli.verify", "verify_backbone", "hold a backbone against what neck, weights and export need",
            "检查骨干网络是否满足颈部、权重和导出的要求"),
    Command("sweep", "cli.sweep_bridge", "sweep_bridge", "hold every timm and torchvision name against its original",
            "把 timm 和 torchvision 的每个网络与原版比较"),
    Command("compare", "cli.compare_backbones", "compare_backbones", "backbones side by side: cost and accuracy",
            "并排比较骨干网络:开销与精度"),
    Command("suggest", "cli.suggest_backbone", "suggest_backbone", "backbones that are like one, within limits",
            "推荐与给定网络相似、满足限制的骨干网络"),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool that the first word names; the other words are its own. Leaves the process as ``cli.run`` does."""
    words = list(sys.argv[1:] if argv is None else argv)
    run(lambda: _main(words))


def _main(words: list[str]) -> None:
    if not words or words[0].startswith("-"):
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a console that cannot show Chinese shows the English half
        _parser().parse_args(words or ["--help"])
        return
    name, *rest = words
    command = next((command for command in COMMANDS if command.name == name), None)
    if command is None:
        names = [command.name for command in COMMANDS]
        raise UserError(f"{PROGRAM}: no command '{name}'{nearest(name, names)} (known: {', '.join(names)})")
    sys.argv = [f"{PROGRAM} {name}", *rest]  # argparse writes the first of them before every usage and mistake
    importlib.import_module(f"ppdet_ext.{command.module}").main(rest)


def _parser() -> argparse.ArgumentParser:
    rows = "\n".join(f"  {command.name:13}{command.help} | {command.help_cn}" for command in COMMANDS)
    parser = argparse.ArgumentParser(
        prog=PROGRAM, usage=f"{PROGRAM} COMMAND ...", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="timm and torchvision backbones under RT-DETR, natively in PaddlePaddle.",
        epilog=f"commands:\n{rows}\n\nflags of a command: {PROGRAM} COMMAND --help")
    parser.add_argument("--version", action="version", version=_version())
    return parser


def _version() -> str:
    import ppdet_ext
    return f"{PROGRAM} {ppdet_ext.__version__}"


def spelling(name: str) -> str:
    """How the user of this process would start another command: as a file in tools/, or as ``ppdet-ext NAME``."""
    tool = next(command.tool for command in COMMANDS if command.name == name)
    return f"{PROGRAM} {name}" if sys.argv[0].startswith(PROGRAM) else f"python tools/{tool}.py"
