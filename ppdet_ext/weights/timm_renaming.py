# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""timm's own renaming of authors' checkpoints, for networks that our tables do not know; where timm is installed."""
from __future__ import annotations

import importlib
import importlib.util
import logging

import numpy as np

FUNCTIONS = ("checkpoint_filter_fn", "_checkpoint_filter_fn", "_filter_fn")  # what timm calls it in a network's module

logger = logging.getLogger(__name__)


def at_hand() -> bool:
    """Whether timm and torch are installed."""
    return all(importlib.util.find_spec(module) for module in ("timm", "torch"))


def rename(state: dict[str, np.ndarray], arch: str, num_classes: int | None) -> dict[str, np.ndarray]:
    """``state`` in timm's names for ``arch``, as timm's function of this network makes it; {} where there is none.

    Its position parameters come resized to the network's own image size.
    """
    import timm
    import torch
    with torch.device("meta"):  # its shapes are asked for, not its numbers
        model = timm.create_model(arch, pretrained=False, num_classes=num_classes)
    module = importlib.import_module(type(model).__module__)
    function = next((getattr(module, name) for name in FUNCTIONS if hasattr(module, name)), None)
    if function is None:
        return {}
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    try:
        with torch.no_grad():
            renamed = function(tensors, model)
    except Exception as error:  # it may expect names that are not there
        logger.info("timm's renaming for %s does not take these names (%s: %s)", arch, type(error).__name__, error)
        return {}
    return {name: value.numpy() for name, value in renamed.items()}
