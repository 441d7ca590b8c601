# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A training that starts from a trained detector with another backbone: ``swap_backbone`` in its config."""
from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..config import swap_keys
from ..engine import load_weights, run_facts
from ..engine.trainer import Trainer
from ..errors import masked
from . import after_swap, swapping
from .swap_report import SwapReport

log = logging.getLogger("ppdet.engine")


def start(trainer: Trainer, quick: bool = False) -> None:
    """Give a trainer its first weights, as its config says: ``pretrain_weights``, with ``swap_backbone`` or without.

    Args:
        quick: only the weights, without alignment and what it asks of the training.

    Raises:
        UserError: see ``swapping.swap``, ``Trainer.load_weights``.
    """
    settings = swap_keys.settings(trainer.cfg)
    weights: Any = trainer.cfg.get("pretrain_weights")
    if settings is None:
        if weights:
            trainer.load_weights(weights)
        return
    if trainer.cfg.get("allow_missing"):
        log.warning("allow_missing has NO effect with swap_backbone, which says itself what is kept")
    report = swap_by_settings(trainer.model, weights, settings, trainer.cfg.get("class_map"),
                              run_facts.names_of(trainer.dataset),
                              lambda theirs: run_facts.check(trainer.cfg, theirs, weights, "TrainReader"))
    if not quick:
        report = after_swap.align_model(trainer.model, trainer.cfg, settings, report, trainer.output,
                                        trainer.dataset.roidbs)
        after_swap.attach(trainer, report)
    log.info("%s", report)
    note(trainer, report)


def swap_by_settings(model: Any, weights: str | Path, settings: dict[str, Any], class_map: Any = None,
                     own_names: Any = None, check: Any = None) -> SwapReport:
    """``swapping.swap`` with the settings of ``swap_backbone``; the backbone's own weights file is loaded first."""
    begin, file = "", settings["backbone_weights"]
    if file:
        load_weights.load_backbone(model, file)
        begin = masked(file)
    report = swapping.swap(model, weights, settings["from_config"], keep_backbone=settings["keep_backbone"],
                           class_map=class_map, own_names=own_names or None, check=check, start=begin)
    if file and report.backbone_kept:
        return report.noted(f"backbone_weights ({begin}) has no effect: the new backbone is the checkpoint's, and "
                            "keeps what it learnt; for its own weights: keep_backbone: false")
    return report


def note(trainer: Trainer, report: SwapReport) -> None:
    """Let the run's report and its checkpoints say what a swap did; the latest call counts."""
    trainer.started_from, trainer.swapped = report.line, report.as_dict()
    trainer.swaps = report.all_swaps
