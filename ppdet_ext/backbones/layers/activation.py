# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Activations that survive export."""
from ...bridge.ops.activation_leaves import LeakyReLU

__all__ = ["LeakyReLU"]
