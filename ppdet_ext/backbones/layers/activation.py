# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Activations that survive export, and are fast after it."""
from ...bridge.ops.activation_leaves import LeakyReLU, SiLU, silu

__all__ = ["LeakyReLU", "SiLU", "silu"]
