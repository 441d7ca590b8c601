# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The name under which the guide imports ``register``; re-exports only."""
from ppdet_ext.registry import register_user as register
from ppdet_ext.registry import serializable
from ppdet_ext.user_class import ShapeSpec

__all__ = ["ShapeSpec", "register", "serializable"]
