# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A swapped detector as a file: built from a config, given what the trained one learnt, and stamped with its origin."""
from __future__ import annotations

import logging
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn
from ppdet.core.workspace import create

from ..checkpoints import checkpoint_files, stamp
from ..data import class_names
from ..engine import run_facts
from ..errors import UserError, masked
from ..files import atomic_path
from ..weights import metadata
from ..weights.writers import write_paddle
from . import start_swapped
from .swap_report import SwapReport

log = logging.getLogger("ppdet.engine")


def check_output(output: str | Path, checkpoint: str | Path) -> None:
    """Raise UserError where the output cannot be written there; good to know before work."""
    checkpoint_files.check_output("paddledet", output)
    named = [Path(f"{checkpoint}{suffix}") for suffix in ("", stamp.WEIGHTS)]
    if Path(output).exists() and any(path.exists() and path.samefile(output) for path in named):
        raise UserError(f"'{output}' is the trained detector itself, which is not overwritten; name another output")


def make(cfg: dict[str, Any], checkpoint: str | Path, output: str | Path, settings: dict[str, Any]) -> SwapReport:
    """Build a config's detector, swap, and write the outcome; nothing is written on a mistake.

    Args:
        cfg: ppdet's global config of the new detector, checked for mode 'test'.
        checkpoint: see ``swapping.swap``.
        output: a .pdparams.
        settings: of ``swap_keys.filled``.
    """
    names = _own_names(cfg)
    model = create(cfg["architecture"])
    report = start_swapped.swap_by_settings(
        model, checkpoint, settings, cfg.get("class_map"), names,
        lambda theirs: run_facts.check(cfg, theirs, masked(checkpoint), "TestReader"))
    if settings["align_steps"] or settings["align_projections"]:
        report = report.noted("nothing is aligned here: that is the command train's, before it trains")
    write(model, cfg, report, output)
    return report


def _own_names(cfg):
    """The new detector's class names, where its training set can be read and has as many."""
    try:
        names = class_names.of_data_set(cfg)
    except UserError as error:
        log.info("class names: the checkpoint's, where it has as many; those of the new config are not known (%s)",
                 error)
        return ()
    if len(names) != cfg.get("num_classes"):
        log.info("class names: not those of TrainDataset, which has %d; num_classes is %s", len(names),
                 cfg.get("num_classes"))
        return ()
    return names


def write(model: nn.Layer, cfg: dict[str, Any], report: SwapReport, output: str | Path) -> None:
    """Write a swapped detector's weights with their stamp, and beside them what is known of them, as converted ones'.

    Either both files are written, or none.
    """
    facts = run_facts.before_training(cfg, report.classes, report.new_backbone, report.all_swaps)
    about = {"arch": str(cfg["filename"]), "source": report.source, "sha256": report.sha256,
             "license": report.licence or "unknown", "tool_version": metadata.version(),
             "mean": list(facts.mean), "std": list(facts.std), "classes": list(facts.classes)}
    state = {name: np.array(value.numpy()) for name, value in model.state_dict().items()}
    with atomic_path(output) as weights, atomic_path(metadata.sidecar(output)) as beside:
        write_paddle(state, weights)
        stamp.write(weights, stamp.Stamp(secrets.token_hex(4), 0, 0, (stamp.WEIGHTS,), facts))
        beside.write_text(metadata.dump(about), encoding="utf-8")
