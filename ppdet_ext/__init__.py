# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Any timm or torchvision backbone under RT-DETR, natively in PaddlePaddle.

Importing this package registers everything with PaddleDetection; torch is not needed for it.
"""
# ruff: noqa: E402  (Paddle must not be loaded before the environment is set and checked)
import sys

from .errors import UserError, show_in_one_line
from .patches import compat
from .startup import environment

_late = "paddle" in sys.modules
_set = environment.setup()
try:
    compat.check_environment()
except UserError:
    show_in_one_line()
    raise
compat.preload()

from . import backbones, detector
from .backbones import modules  # noqa: F401  they register
from .backbones.ppdet import ppdet_focalnet, ppdet_hgnetv2, ppdet_resnet, ppdet_swin  # noqa: F401  they register
from .engine import optimizer  # noqa: F401  registers
from .registry import names

compat.apply()
names.announce_replaced()
if _late and _set:
    names.logger.warning("Paddle was imported before ppdet_ext, so %s has no effect and a CPU may run several times "
                            "slower; import ppdet_ext (or rt_detr_paddle) first", ", ".join(_set))

__version__ = "0.1.0"
__all__ = ["UserError", "backbones", "detector", "registry"]


def setup() -> None:
    """Make Paddle ready; importing has done it."""
