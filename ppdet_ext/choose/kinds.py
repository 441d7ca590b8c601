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
# words in the names of classes
WINDOWS = ("Window", "Partition", "Shifted", "Neighborhood", "MaskUnit", "SpatialBlock")
ATTENTION = ("Att", "MLA", "MHSA", "GPSA")
CONVOLUTIONS = ("conv", "pointwise", "grouped", "depthwise")
NORMS = {"BatchNorm": "batch", "LayerNorm": "layer", "GroupNorm": "group", "RmsNorm": "rms", "FrozenBatchNorm": "batch"}
ACTIVATIONS = {"ReLU": "relu", "GELU": "gelu", "SiLU": "silu", "Hardswish": "hardswish", "LeakyReLU": "relu",
               "StarReLU": "relu", "Swish": "silu", "PReLU": "relu"}


def first_of(table: Mapping[str, str], classes: Sequence[str]) -> str:
    """The word for the first class whose name begins with a key of NORMS or ACTIVATIONS; '' for none."""
    found = ((word, name) for name in classes for key, word in table.items() if name.startswith(key))
    return next(found, ("", ""))[0]


def kind_of(shares: Mapping[str, float], strides: Sequence[float], modules: Sequence[str], norm: str) -> str:
    """One of KINDS.

    Args:
        shares: {kind of operation: share of the multiplications}.
        strides: of the features.
        modules: class names of the network's modules.
        norm: its most frequent one, a word of NORMS.
    """
    share = {**dict.fromkeys((*CONVOLUTIONS, "linear", "attention"), 0.0), **shares}
    convolutions = sum(share[kind] for kind in CONVOLUTIONS)
    flat = len(set(strides)) == 1
    if share["attention"] > 0 and any(word in name for word in ATTENTION for name in modules):
        if convolutions > 0.45:
            return "hybrid"
        windows = any(word in name for word in WINDOWS for name in modules)
        return "vit" if flat else "window" if windows else "pyramid"
    if flat and convolutions < 0.5:
        return "mlp"
    if share["depthwise"] > 0.001 and share["conv"] < 0.7:
        return "convnext" if norm == "layer" else "mbconv"
    if share["grouped"] > 0.05:
        return "grouped"
    return "bottleneck" if share["pointwise"] > 0.25 else "basic"
