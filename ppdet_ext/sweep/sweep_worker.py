# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A process that measures: names on stdin, one a line; rows of JSON on stdout, one a line, after one line READY."""
from __future__ import annotations

import argparse
import importlib
import json
import os
import sys

import ppdet_ext

READY = "ready"


def private_stdout():
    """A file on what was stdout; from here on everything else that writes to stdout ends on stderr.

    Works on the descriptor, because C++ libraries print without asking Python.
    """
    sys.stdout.flush()
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def function(spec):
    """The function that 'package.module:name' means."""
    module, _, name = spec.partition(":")
    return getattr(importlib.import_module(module), name)


def row(measure, name, settings):
    """A row; one of status 'failed' where ``measure`` raises."""
    try:
        return measure(name, **settings)
    except Exception as error:  # one network must not end the sweep
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {"name": name, "status": "failed", "reason": reason}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", default="ppdet_ext.sweep.measure:measure", metavar="MODULE:FUNCTION",
                        help="takes a name and the settings, gives a row")
    parser.add_argument("--settings", type=json.loads, default={}, metavar="JSON", help="its keyword arguments")
    args = parser.parse_args(argv)
    channel = private_stdout()
    ppdet_ext.setup()
    measure = function(args.measure)
    # what libraries printed while they were imported may have left a line without an end
    print(f"\n{READY}", file=channel, flush=True)
    for line in sys.stdin:
        values = row(measure, line.strip(), args.settings)
        # numbers of numpy and Paddle become Python's
        print(json.dumps(values, default=float), file=channel, flush=True)


if __name__ == "__main__":
    main()
