# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Any timm or torchvision backbone under RT-DETR, natively in PaddlePaddle.

Importing this changes nothing. A program of one's own starts with ``import ppdet_ext; ppdet_ext.setup()``.
"""
from __future__ import annotations

import importlib
import sys
from types import ModuleType

from .errors import UserError, show_in_one_line

__version__ = "0.1.0"
__all__ = ["UserError", "backbones", "detector", "registry", "setup"]

#: what setup() imports, as each registers its names with PaddleDetection
REGISTERING = ("backbones", "detector", "backbones.modules", "backbones.ppdet.ppdet_focalnet",
               "backbones.ppdet.ppdet_hgnetv2", "backbones.ppdet.ppdet_resnet", "backbones.ppdet.ppdet_swin",
               "data.pixel_transforms", "engine.optimizer")
_ready = False


def setup() -> None:
    """Make Paddle and ppdet ready: environment, checks, registered names, patches (see ``ppdet_ext.patches``).

    Call it before Paddle loads; later a warning says what has no effect any more. A second call does nothing.

    Raises:
        UserError: the environment cannot work. Where nothing catches it, it is printed as one line.
    """
    global _ready
    if _ready:
        return
    try:
        _make_ready()
    except UserError:
        show_in_one_line()
        raise
    _ready = True


def _make_ready():
    from .patches import ledger
    from .startup import environment, quiet, requirements

    late = "paddle" in sys.modules
    chosen = environment.setup()
    with quiet.imports():
        requirements.check_environment()
        ledger.switched_off()  # a mistake there is said before the long imports
        requirements.preload()
        for room in REGISTERING:
            importlib.import_module(f"{__name__}.{room}")
        ledger.apply()

        from .registry import names

    quiet.hold_loggers()
    names.announce_replaced()
    if late and chosen:
        names.logger.warning("Paddle was imported before ppdet_ext.setup(), so %s has no effect and a CPU may run "
                             "several times slower; call ppdet_ext.setup() first", ", ".join(chosen))


def __getattr__(name: str) -> ModuleType:
    """These rooms load Paddle, so they are imported when they are first asked for."""
    if name in ("backbones", "detector", "registry"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
