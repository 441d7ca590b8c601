# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Backbones by timm's and torchvision's names, with their parameter names and numbers, in Paddle."""
from . import (  # noqa: F401  they register their names
    convnext,
    cspnet,
    efficientnet,
    hgnetv2,
    mobilenetv3,
    regnet,
    repvit,
    resnet,
    swin,
    swinv2,
)
from .features import FeatureInfo, FeatureNet, Step, take_indices
from .manifest import PretrainedCfg, recognise
from .model_registry import (
    ModelEntry,
    create_model,
    find_entry,
    list_families,
    list_models,
    model_entry,
    register_model,
    resolve,
    split_tag,
)

__all__ = [
    "FeatureInfo", "FeatureNet", "ModelEntry", "PretrainedCfg", "Step", "create_model", "find_entry",
    "list_families", "list_models", "model_entry", "recognise", "register_model", "resolve", "split_tag",
    "take_indices",
]
