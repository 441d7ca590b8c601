# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a config says to have a network of timm or torchvision as its backbone. Nothing is loaded for it."""
from __future__ import annotations

from typing import Any

#: a folder of the names of torchvision -> the backbone that configs name; all other names are timm's
LIBRARIES = {"torchvision/": "TorchvisionBackbone", "": "TimmBackbone"}


def backbone_section(arch: str, **settings: Any) -> tuple[str, dict[str, Any]]:
    """(class that a config names as the backbone, its section) of a network.

    Strides are made to fit (adapter: auto), and one learning rate holds for all stages, however many there are.
    """
    prefix = next(prefix for prefix in LIBRARIES if arch.startswith(prefix))
    return LIBRARIES[prefix], {"arch": arch[len(prefix):], "adapter": "auto", "size": "resize", "lr_mult_list": None,
                               **settings}
