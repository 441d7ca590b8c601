# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Any timm or torchvision backbone under RT-DETR, natively in PaddlePaddle.

Importing this changes nothing. A program of one's own starts with ``import ppdet_ext; ppdet_ext.setup()``.
"""
from __future__ import annotations

import importlib
import sys
from typing import Any

from .errors import UserError

__version__ = "0.1.0"
__all__ = ["UserError", "backbones", "detector", "registry", "setup"]

# what setup() imports, as each registers its names with PaddleDetection
_REGISTER = ("backbones", "detector", "backbones.modules", "backbones.ppdet.ppdet_focalnet",
             "backbones.ppdet.ppdet_hgnetv2", "backbones.ppdet.ppdet_resnet", "backbones.ppdet.ppdet_swin",
             "engine.optimizer")
_ready = False


def setup() -> None:
    """Make Paddle and ppdet ready: environment, checks, registered names, patches (see ``ppdet_ext.patches``).

    Call it before Paddle loads; later a warning says what has no effect any more. A second call does nothing.

    Raises:
        UserError: the environment cannot work. Not caught, it prints one line.
    """
    global _ready
    if _ready:
        return
    _ready = True
    from .errors import show_in_one_line
    from .startup import environment, requirements

    late = "paddle" in sys.modules
    chosen = environment.setup()
    try:
        requirements.check_environment()
    except UserError:
        _ready = False
        show_in_one_line()
        raise
    requirements.preload()
    for room in _REGISTER:
        importlib.import_module(f"{__name__}.{room}")
    from .patches import compat, ledger
    from .registry import names

    compat.apply()
    ledger.apply()
    names.announce_replaced()
    if late and chosen:
        names.logger.warning("Paddle was imported before ppdet_ext.setup(), so %s has no effect and a CPU may run "
                             "several times slower; call ppdet_ext.setup() first", ", ".join(chosen))


def __getattr__(name: str) -> Any:
    if name in ("backbones", "detector", "registry"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
