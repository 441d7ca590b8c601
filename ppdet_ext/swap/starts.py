# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""How a new backbone starts, which decides how far its steps may go."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddle import nn

from ..nn.norms import batch_norms
from ..weights import pretrained_weights

#: RANDOM_BN: a random start where BatchNorm alone normalises. It takes the size of the weight before it away, so that a
#: step turns the weight and cannot break it; with LayerNorm or GroupNorm as large steps ended learning (docs/swap.md).
PRETRAINED, RANDOM, RANDOM_BN = STARTS = ("pretrained", "random", "random_bn")
OTHER_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2D)


def start_of(backbone: nn.Layer, settings: Mapping[str, Any]) -> str:
    """One of STARTS, for a backbone and the settings of ``swap_backbone``."""
    source = getattr(backbone, "weights_source", pretrained_weights.RANDOM)
    if settings["backbone_weights"] or source != pretrained_weights.RANDOM:
        return PRETRAINED
    others = any(isinstance(layer, OTHER_NORMS) for layer in backbone.sublayers())
    return RANDOM_BN if batch_norms(backbone) and not others else RANDOM
