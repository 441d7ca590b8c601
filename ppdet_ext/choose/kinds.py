# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a network is built of, in one word, from the operations that it spends its multiplications on."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

# in words, as the reasons of suggest_backbone say it
KINDS = {
    "basic": "3x3 convolutions",
    "bottleneck": "bottlenecks of 1x1 and 3x3 convolutions",
    "grouped": "bottlenecks with grouped convolutions",
    "mbconv": "depthwise and 1x1 convolutions",
    "convnext": "large depthwise convolutions and layers on channels",
    "window": "attention in windows, in stages",
    "pyramid": "attention over the image, in stages",
    "hybrid": "convolutions first, attention later",
    "vit": "attention over the image at one stride",
    "mlp": "layers on tokens and on channels",
}
WINDOWS = ("Window", "Partition", "Shifted", "Neighborhood", "SpatialBlock")
# classes that mix by layers where others have attention
CONVOLUTIONS = ("conv", "pointwise", "grouped", "depthwise")


def kind_of(shares: Mapping[str, float], strides: Sequence[float], modules: Sequence[str]) -> str:
    """One of KINDS.

    Args:
        shares: {kind of operation: share of the multiplications}.
        strides: of the features.
        modules: class names of the network's modules.
    """
    share = {**dict.fromkeys((*CONVOLUTIONS, "linear", "attention"), 0.0), **shares}
    convolutions = sum(share[kind] for kind in CONVOLUTIONS)
    attends = share["attention"] > 0.004 and any("Att" in name or "Mixer" in name for name in modules)
    flat = len(set(strides)) == 1
    if attends and convolutions > 0.45:
        return "hybrid"
    if attends:
        windows = any(word in name for word in WINDOWS for name in modules)
        return "vit" if flat else "window" if windows else "pyramid"
    if flat and convolutions < 0.5:
        return "mlp"
    if share["linear"] > 0.4 or (share["depthwise"] and share["depthwise"] + share["linear"] > 0.4):
        return "convnext"
    if share["depthwise"] > 0.02:
        return "mbconv"
    if share["grouped"] > 0.05:
        return "grouped"
    return "bottleneck" if share["pointwise"] > 0.25 else "basic"
