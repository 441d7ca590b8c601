# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where and with what a measurement was made: goes into its JSON file."""
import platform
from importlib import metadata
from pathlib import Path

from ppdet_ext.startup import environment


def cpu():
    """The processor's name and the cores that this process may use."""
    return f"{environment.cpu_model()}, {environment.cores()} cores"


def memory(name):
    """MiB of VmRSS (now) or VmHWM (ever) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def about(*packages):
    """{'machine', 'python', package: version}; packages that are not installed are left out."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"machine": cpu(), "python": platform.python_version(), **versions}
