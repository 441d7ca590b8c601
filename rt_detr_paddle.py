# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The name under which the guide imports ``register``; re-exports only."""
from ppdet_ext.registry import ShapeSpec, serializable
from ppdet_ext.registry import register_user as register

__all__ = ["ShapeSpec", "register", "serializable"]
