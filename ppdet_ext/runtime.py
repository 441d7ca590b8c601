# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What must be in the environment before Paddle loads: CPU threads and the math library's instruction set.

Stands alone (standard library only), so that deployment can use it without the rest of the package.
Measured effect: see DESIGN notes in docs/benchmarks.md. A value the user has set is never changed.
"""
import os
import platform


def _defaults():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    defaults = {"OMP_NUM_THREADS": str(cores)}
    if "AMD" in _cpu_name():
        # the MKL inside Paddle's CPU wheel takes its slowest path on AMD processors unless told which one to take
        defaults["MKL_DEBUG_CPU_TYPE"] = "5"
    return defaults


def _cpu_name():
    try:
        with open("/proc/cpuinfo") as file:
            return next((line for line in file if line.startswith(("vendor_id", "model name"))), "")
    except OSError:
        return platform.processor()


def setup():
    """Set the variables that the user has not set. Returns those it set, as {name: value}.

    Has no effect on a Paddle that is already loaded: call it first (importing ppdet_ext does).
    """
    chosen = {name: value for name, value in _defaults().items() if name not in os.environ}
    os.environ.update(chosen)
    return chosen
