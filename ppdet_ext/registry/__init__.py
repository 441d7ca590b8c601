# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Names to classes, and a user's own class as a backbone."""
from .names import (
    announce_replaced,
    build,
    check_settings,
    holder_of,
    register,
    register_over,
    register_user,
    registered_names,
    schema_of,
    serializable,
)
from .user_class import ShapeSpec

__all__ = ["ShapeSpec", "announce_replaced", "build", "check_settings", "holder_of", "register", "register_over",
           "register_user", "registered_names", "schema_of", "serializable"]
