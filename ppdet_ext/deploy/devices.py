# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The names of devices that flags take, and what the engines call them."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .deploy_error import DeployError

if TYPE_CHECKING:
    from .engines import Options

DEVICES = ("cpu", "gpu", "xpu", "npu", "mlu")


def choose(options: Options, names: Mapping[str, Sequence[str]], available: Sequence[str]) -> str:
    """The engine's own name of ``options.device``: the first of ``names[device]`` that is in ``available``.

    Raises:
        DeployError: the engine knows no such device, or finds none here.
    """
    found = next((name for name in names.get(options.device, ()) if name in available), None)
    if found is None:
        raise DeployError(f"--device {options.device.upper()}: this {options.engine} finds none here; it has "
                          f"{', '.join(available)}; use --device CPU, or install {options.engine} for that device")
    return found
