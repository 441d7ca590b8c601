# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``swap_backbone``: true, or a group of settings; what each may be, and what it is where it is left out."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import UserError, nearest
from . import values
from .rules import FLAG, NONE, OFF, TEXT, Rule, one_of, whole

KEY = "swap_backbone"


class Setting(NamedTuple):
    """A setting of the group: the rule for its value, its default."""

    rule: Rule
    default: Any = None


SETTINGS = {
    "from_config": Setting(TEXT | NONE),
    "keep_backbone": Setting(FLAG | NONE),
    "backbone_weights": Setting(TEXT | NONE),
    # alignment, see docs/swap.md
    "align_steps": Setting(whole(0, values.MAX_STEPS, 500), 0),
    "images": Setting(TEXT | NONE),
    "align_projections": Setting(FLAG, False),
    "align_batches": Setting(whole(1, 10_000, 30), 30),
    "align_ridge": Setting(values.FACTOR, 0.01),
    "align_lr_random": Setting(values.POSITIVE, 0.002),
    "align_lr_random_bn": Setting(values.POSITIVE, 0.02),
    "align_lr_pretrained": Setting(values.POSITIVE, 0.002),
    "align_warmup": Setting(whole(0, values.MAX_STEPS, 20), 20),
    "align_clip": Setting(values.POSITIVE, 1.0),
    "align_cache": Setting(FLAG | one_of("auto"), "auto"),
    "align_cache_gb": Setting(values.POSITIVE, 4.0),
    # the teacher during training
    "distill": Setting(FLAG, False),
    "distill_weight": Setting(values.NOT_NEGATIVE, 1.0),
    "unlabelled": Setting(TEXT | NONE),
    "min_score": Setting(values.SHARE, 0.5),
    # learning rates: factors of the plan, and update-to-weight ratios that lr: auto aims at
    "lr": Setting(one_of("plan", "auto") | OFF | NONE, "plan"),
    "lr_warmup": Setting(whole(0, values.MAX_STEPS, 100), 100),
    "lr_kept": Setting(values.FACTOR, 1.0),
    "lr_projections": Setting(values.FACTOR, 1.0),
    "lr_random": Setting(values.FACTOR, 1.0),
    "lr_random_bn": Setting(values.FACTOR, 3.0),
    "lr_pretrained": Setting(values.FACTOR, 1.0),
    "ratio_kept": Setting(values.POSITIVE, 0.003),
    "ratio_projections": Setting(values.POSITIVE, 0.003),
    "ratio_random": Setting(values.POSITIVE, 0.005),
    "ratio_pretrained": Setting(values.POSITIVE, 0.001),
}


def check(cfg: Mapping[str, Any]) -> None:
    """Check the group of a loaded config.

    Raises:
        UserError: an unknown setting, or a value that is not allowed.
    """
    given = cfg.get(KEY)
    if isinstance(given, dict):
        for key, value in given.items():
            if key not in SETTINGS:
                raise UserError(f"{KEY} has no setting '{key}'{nearest(key, SETTINGS)} (known: {', '.join(SETTINGS)})")
            values.check(f"{KEY}.{key}", value, SETTINGS[key].rule)


def settings(cfg: Mapping[str, Any]) -> dict[str, Any] | None:
    """All settings with their values; None where no backbone is to be swapped.

    Raises:
        UserError: ``pretrain_weights`` does not name the trained detector.
    """
    given = cfg.get(KEY)
    if given is None or given is False or given == 0:
        return None
    if not cfg.get("pretrain_weights"):
        raise UserError(f"{KEY} takes the trained detector from pretrain_weights, which the config does not name; "
                        f"write 'pretrain_weights: CHECKPOINT', or leave {KEY} out")
    return filled(given)


def filled(given: Any) -> dict[str, Any]:
    """All settings with their values, of what a config gives as ``swap_backbone``."""
    own = given if isinstance(given, dict) else {}
    return {key: own.get(key, setting.default) for key, setting in SETTINGS.items()}
