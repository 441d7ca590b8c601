# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a worker of the sweep does in its process: start once, then a row for each name."""
from __future__ import annotations

import importlib
import json
import signal
from collections.abc import Callable

import ppdet_ext


def start(measure: str) -> bool:
    """Import what measures."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep, which then ends its workers
    ppdet_ext.setup()
    function(measure)
    return True


def function(spec: str) -> Callable[..., dict]:
    """The function that 'package.module:name' means."""
    module, _, name = spec.partition(":")
    return getattr(importlib.import_module(module), name)


def row(measure: str, name: str, settings: dict) -> dict:
    """A row of plain data; one of status 'failed' where ``measure`` raises."""
    try:
        values = function(measure)(name, **settings)
    except (Exception, SystemExit) as error:  # one network must not end the sweep
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {"name": name, "status": "failed", "reason": reason}
    # numbers of numpy and Paddle become Python's
    return json.loads(json.dumps(values, default=float))
