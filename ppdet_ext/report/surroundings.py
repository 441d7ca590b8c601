# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a run stood on: versions of the packages, and the machine."""
from __future__ import annotations

import importlib.metadata
import platform

from ..startup.environment import cores, cpu_model
from .page import Words

PACKAGES = ("ppdet-ext", "paddlepaddle", "paddlepaddle-gpu", "paddledet", "numpy", "opencv-python",
            "opencv-python-headless", "pycocotools", "matplotlib")


def versions() -> list[tuple[Words, str]]:
    """(name, version) pairs of Python and of the packages that are installed."""
    found = [(("Python", ""), platform.python_version())]
    for package in PACKAGES:
        try:
            found.append(((package, ""), importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> list[tuple[Words, str]]:
    """(words, value) pairs: system, processor, cores, memory."""
    import psutil

    return [(("system", "系统"), platform.platform(terse=True)), (("processor", "处理器"), cpu_model()),
            (("cores that the process may use", "可用核数"), str(cores())),
            (("memory", "内存"), f"{psutil.virtual_memory().total / 2 ** 30:.1f} GiB")]
