# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What Paddle's eager mode is doing just now."""
from paddle.base import core
from paddle.base.framework import _dygraph_tracer


def mixed_precision():
    """Whether auto_cast is on: it looks at Paddle's own operations, so those must stay."""
    tracer = _dygraph_tracer()
    return tracer is not None and tracer._amp_level != core.AmpLevel.O0
