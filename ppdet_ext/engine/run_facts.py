# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A run's facts (classes, normalisation, size, data, settings), and a checkpoint's held against what a config says."""
from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdet.data.source.category import get_categories

from ..checkpoints import facts
from ..checkpoints.facts import Facts
from ..data import dataset_config, normalization
from ..errors import UserError, printable
from ..files import sha256

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")
AVERAGE = "; with use_ema a .pdparams holds the average, and the run goes on from that"
# what decides how training goes on -> what to say beside both values
SETTINGS = {"LearningRate.base_lr": "", "LearningRate.schedulers": "", "OptimizerBuilder.optimizer": "",
            "OptimizerBuilder.regularizer": "", "OptimizerBuilder.clip_grad_by_norm": "",
            "OptimizerBuilder.clip_grad_by_value": "", "use_ema": AVERAGE, "ema_decay": "", "ema_decay_type": "",
            "TrainReader.batch_size": "", "accumulate_steps": "", "epoch": ""}
SCHEDULE = ("LearningRate.base_lr", "LearningRate.schedulers", "epoch")  # those that change the learning rate


def collect(trainer: Trainer) -> Facts:
    """Those of a trainer in mode 'train'."""
    cfg, names = trainer.cfg, names_of(trainer.dataset)
    numbers = getattr(trainer.dataset, "catid2clsid", {})
    ids = sorted(numbers, key=lambda category: numbers[category]) or range(len(names))
    mean, std = normalization.used(cfg, "TrainReader") or ((), ())
    return Facts(tuple(names), tuple(ids), mean, std,
                 tuple(_size(cfg, "EvalReader")), trainer.accumulation.steps_per_epoch, _data(cfg),
                 {name: _text(cfg, name) for name in SETTINGS}, trainer.resumed,
                 facts.backbone_name(getattr(trainer.model, "backbone", None)), trainer.swaps)


def before_training(cfg: dict[str, Any], classes: Sequence[str], backbone: str,
                    swaps: tuple[dict[str, str], ...]) -> Facts:
    """Those of weights that are made for a config's detector, and that no run has trained."""
    mean, std = normalization.used(cfg, "TestReader") or ((), ())
    return Facts(tuple(classes), (), mean, std, tuple(_size(cfg, "EvalReader")), backbone=backbone, swaps=swaps)


def names_of(dataset: Any) -> list[str]:
    """A parsed data set's class names, in the detector's order; [] where it does not know them."""
    numbers = getattr(dataset, "cname2cid", None) or {}
    return sorted(numbers, key=lambda name: numbers[name])


def _size(cfg, reader):
    """[height, width] that a reader resizes pictures to; [] where it does not."""
    for step in dict.get(cfg.get(reader) or {}, "sample_transforms") or ():
        for arguments in step.values():
            size = (arguments or {}).get("target_size")
            if isinstance(size, (int, list, tuple)) and size:
                return [size, size] if isinstance(size, int) else list(size)
    return []


def _data(cfg):
    data = dataset_config.read(cfg, "TrainDataset")
    if data is None or not data.anno_path or not data.anno_file.is_file():
        return ""
    return f"{printable(data.anno_file.name)} {sha256(data.anno_file)[:12]}"


def _text(cfg, name):
    value: Any = cfg
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
    return printable(json.dumps(value, sort_keys=True, default=_fields), facts.LONGEST)


def _fields(value):
    """A tagged object of a config."""
    return {type(value).__name__: vars(value)} if hasattr(value, "__dict__") else str(value)


def check(cfg: dict[str, Any], theirs: Facts, weights: str | Path, reader: str, ours: Sequence[str] = (),
          where: str = "") -> None:
    """Hold a checkpoint's facts against a config.

    Args:
        reader: whose normalisation and size count.
        ours, where: class names of a data set, and what it is called. Without them names are not looked at.

    Raises:
        UserError: a class has another number, or pixels are normalised otherwise (``class_mismatch: warn`` and
            ``normalization_mismatch: warn`` make it a warning).
    """
    if theirs.mean:
        normalization.check_against(cfg, reader, theirs.mean, theirs.std, f"'{weights}' was trained with")
    size = _size(cfg, reader)
    if theirs.size and size and list(theirs.size) != size and reader != "TrainReader":
        log.warning(f"{reader} resizes pictures to {size}; '{weights}' was evaluated at {list(theirs.size)} (height, "
                    "width) while it was trained")
    check_classes(cfg, theirs.classes, ours, f"{where}, for '{weights}'")


def check_classes(cfg: dict[str, Any], theirs: Sequence[str], ours: Sequence[str], where: str) -> None:
    """Raise UserError where a class name has another number than in a checkpoint; another name is a warning."""
    found = facts.differ(theirs, ours)
    if found is None:
        return
    if found.moved and cfg.get("class_mismatch") != "warn":
        raise UserError(f"{where}: {found.text}; list the classes in the checkpoint's order, or 'class_mismatch: warn' "
                        "to go on like this")
    log.warning(f"{'CLASS MISMATCH: ' if found.moved else ''}{where}: {found.text}")


def categories(cfg: dict[str, Any], dataset: Any, theirs: Facts) -> tuple[dict[int, int], list[str]]:
    """({class: category id}, class names) for predictions: the checkpoint's, where it says them, else TestDataset's."""
    numbers, titles = get_categories(cfg["metric"], anno_file=dataset.get_anno())
    given = [titles[numbers[number]] for number in sorted(numbers)]
    if not theirs.classes or all(map(facts.NO_NAME.fullmatch, theirs.classes)):
        log.info(f"class names: {facts.shown(given)}, as TestDataset says; the checkpoint does not name its classes")
        return numbers, given
    found = facts.differ(theirs.classes, given)
    if found is None:
        return numbers, given
    log.warning(f"TestDataset ({dataset.get_anno()}): {found.text}; the checkpoint's names are used")
    ids = theirs.category_ids or (range(len(theirs.classes)) if found.moved or len(given) != len(theirs.classes) else
                                  [numbers[number] for number in sorted(numbers)])
    return dict(enumerate(ids)), list(theirs.classes)


def say_changes(theirs: Facts, ours: Facts) -> set[str]:
    """Log what a resumed run's config has otherwise than the checkpoint's; the names of those settings."""
    changed = {name for name, now in ours.settings.items() if theirs.settings.get(name, now) != now}
    for name in sorted(changed):
        now, was = (printable(one.settings[name]) for one in (ours, theirs))
        log.warning(f"resumed with another {name}: {now} (the run had {was}){SETTINGS[name]}")
    if theirs.data and ours.data and theirs.data != ours.data:
        log.warning(f"resumed with other training data: {ours.data} (the run had {theirs.data})")
    return changed
