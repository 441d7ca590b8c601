# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""AP of a checkpoint (-o weights=FILE) or of an exported model (--model_dir); PaddleDetection's tools/eval.py flags."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from .. import setup
from ..config import flags


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's own."""
    parser = flags.config_parser(__doc__)
    flags.add_data_flag(parser, "; evaluated on is its val split")
    parser.add_argument("--output_eval", metavar="FOLDER", help="where bbox.json and eval_report/ (page, plots) go "
                        "(default: the working directory)")
    flags.add_switch(parser, "--json_eval", "evaluate the bbox.json that is in --output_eval already")
    flags.add_switch(parser, "--classwise", "AP per class, and precision-recall curves in bbox_pr_curve/")
    flags.add_switch(parser, "--save_prediction_only", "write bbox.json and compute no AP")
    flags.add_switch(parser, "--bias", "add 1 to widths and heights")
    flags.add_switch(parser, "--amp", "automatic mixed precision (GPU)")
    parser.add_argument("--model_dir", help="exported model to evaluate instead of a checkpoint: its folder, or .onnx")
    parser.add_argument("--engine", help="with --model_dir: paddle, onnxruntime or openvino (default: the first that "
                        "reads the model)")
    parser.add_argument("--precision", default="fp32", help="with --model_dir: fp32, or bf16 (backbone and encoder, "
                        "on processors that have it)")
    parser.add_argument("--run_mode", default="paddle", help="with --model_dir: paddle, trt_fp32, trt_fp16 or trt_int8")
    flags.add_switch(parser, "--enable_mkldnn", "with --model_dir: oneDNN on the CPU", default=False)
    parser.add_argument("--cpu_threads", type=int, help="with --model_dir: threads on the CPU (default: all cores)")
    parser.add_argument("--batch_size", type=int, default=1, help="with --model_dir: images run together")
    flags.add_progress(parser)
    flags.add_slice_flags(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> Any:
    """Evaluate as the command line says. Returns the figures by name (AP, AP50, ...)."""
    args = parse_args(argv)
    setup()
    from ..distributed import processes
    from ..engine import evaluate
    from ..engine.report_writer import EvaluationReport
    from ..engine.trainer import Trainer
    from . import prepare

    cfg = prepare.load_cfg(args, "eval")
    prepare.start_workers(cfg)
    slices = args if args.slice_infer else None
    if args.json_eval:
        if processes.is_main():
            evaluate.saved_boxes(cfg, args.output_eval)
            EvaluationReport({**cfg, "output_eval": args.output_eval}, old=True).write()
        return None
    if args.model_dir:
        report = EvaluationReport(cfg, args.model_dir)
        ap = evaluate.exported_model(cfg, args.model_dir, slices=slices, engine=args.engine, precision=args.precision,
                                     device=prepare.current_device(), run_mode=args.run_mode,
                                     enable_mkldnn=args.enable_mkldnn, cpu_threads=args.cpu_threads,
                                     batch_size=args.batch_size)
    else:
        weights = prepare.required_weights(cfg)
        report = EvaluationReport(cfg, weights)
        trainer = Trainer(cfg, "eval")
        trainer.load_weights(weights)
        report.join(trainer)
        ap = evaluate.sliced(cfg, trainer, slices) if slices else trainer.evaluate()
    if processes.is_main():
        report.write(ap)
    return ap
