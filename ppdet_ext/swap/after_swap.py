# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a training does after its backbone was exchanged: alignment, learning rates, distillation, the teacher's boxes.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from paddle import nn

from ..checkpoints.name_maps import BACKBONE
from ..config import swap_keys
from ..data import normalization
from ..engine.trainer import Trainer
from ..errors import UserError
from . import align, pictures, rates, teacher, teacher_boxes
from .distill import Distill
from .starts import start_of
from .swap_plan import PROJECTIONS
from .swap_report import SwapReport


def align_model(model: nn.Layer, cfg: dict[str, Any], settings: Mapping[str, Any], report: SwapReport,
                folder: str | Path, records: list[dict[str, Any]] | None = None) -> SwapReport:
    """Align a swapped detector as ``swap_backbone`` says; nothing where it does not, or where the backbone was kept.

    Args:
        cfg: ppdet's global config, checked for mode 'train'.
        report: the swap's.
        folder: of the run, for what is kept of the teacher's features or of an interrupted alignment.
        records: of the parsed training set; None: it is read here, unless ``images`` names a folder.

    Returns:
        The report, with what was aligned.

    Raises:
        UserError: the teacher cannot be built, or the two do not fit.
        Interrupted: a signal came; the same command goes on.
    """
    if report.backbone_kept or not (settings["align_steps"] or settings["align_projections"]):
        return report
    own = _own_normalization(cfg)
    source = pictures.reader(cfg, settings["images"], records)
    old = teacher.build(cfg["pretrain_weights"], settings["from_config"])
    align.check_fit(model, old.net)
    needed = settings["align_batches"] + settings["align_steps"]
    with pictures.Batches(source, old, own, needed, folder, settings["align_cache"],
                          settings["align_cache_gb"] * pictures.GB, cfg.get("seed") or 0) as batches:
        found = align.align(model, batches, settings, start_of(model.backbone, settings), folder,
                            cfg.get("progress"))
    begins = (BACKBONE, PROJECTIONS) if settings["align_steps"] else (PROJECTIONS,)
    names = [name for name in model.state_dict() if name.startswith(begins)]
    return report.aligned(names, "fitted to the old detector's features").noted(str(found))


def _own_normalization(cfg):
    own = normalization.used(cfg, "TrainReader")
    if own is None:
        raise UserError("swap_backbone: TrainReader has no transforms, so how pictures are normalised is not known")
    return own


def attach(trainer: Trainer, report: SwapReport | None) -> None:
    """Give a trainer the hooks that ``swap_backbone`` asks for.

    Args:
        report: the swap's; None for a run that goes on, which has them where it had them at its start.
    """
    settings = swap_keys.settings(trainer.cfg)
    goes_on = report is None and (trainer.output / rates.FILE).is_file()
    if settings is None or not (goes_on or (report is not None and not report.backbone_kept)):
        return
    trainer.hooks.append(rates.Rates(trainer, settings, start_of(trainer.model.backbone, settings)))
    if settings["distill"]:
        old = teacher.build(trainer.cfg["pretrain_weights"], settings["from_config"])
        align.check_fit(trainer.model, old.net)
        trainer.hooks.append(Distill(trainer, old, _own_normalization(trainer.cfg), settings["distill_weight"]))


def more_pictures(cfg: dict[str, Any]) -> Callable[[Any], None] | None:
    """What adds ``unlabelled`` pictures to the parsed training set; None where the config names none."""
    settings = swap_keys.settings(cfg)
    if settings is None or not settings["unlabelled"]:
        return None
    folder = Path(cfg.get("save_dir", "output")) / cfg["filename"]

    def join(dataset: Any) -> None:
        old = teacher.build(cfg["pretrain_weights"], settings["from_config"])
        teacher_boxes.join(dataset, cfg, settings, old, folder)
    return join
