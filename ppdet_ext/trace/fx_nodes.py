# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What fx's graph has besides torch's own calls: guards, the training mode; and how calls are named and worded."""
from __future__ import annotations

import builtins
import operator
from typing import Any

from torch import fx

OPERATOR_SIGNS = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
                  "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
# timm calls it in training alone, to change values at random; the graph always does, and says which mode it is
AUGMENTATION = "timm.layers.pos_embed_sincos._apply_coord_augs"


def guard(condition: Any, expected: Any, words: str, branch: bool) -> None:
    """Stands in the fx graph for: the graph holds only if ``condition`` is ``expected``."""


def training_mode() -> None:
    """Stands in the fx graph for ``self.training``."""


def op_name(kind: str, target: Any, attribute: str | None = None) -> str:
    """The name of a call in the table of ops: '.view', 'getattr.shape', 'torch.cat', '_operator.add'."""
    if kind == "call_method":
        return f".{target}"
    if target is builtins.getattr:
        return f"getattr.{attribute}"
    return f"{getattr(target, '__module__', None) or 'builtins'}.{getattr(target, '__name__', target)}"


def words(node: Any, depth: int = 0) -> str:
    """A node as an expression in Python's own signs."""
    if not isinstance(node, fx.Node):
        return repr(node)
    if node.op == "placeholder":
        return "image"
    name = getattr(node.target, "__name__", str(node.target).rpartition(".")[2])
    if depth > 8 or node.op in ("call_module", "get_attr"):
        return name + "(...)" * (node.op != "get_attr")
    parts = [words(argument, depth + 1) for argument in node.args]
    if node.target is builtins.getattr:
        return f"{parts[0]}.{node.args[1]}"
    if node.target is operator.getitem:
        return f"{parts[0]}[{parts[1]}]"
    if name in OPERATOR_SIGNS and len(parts) == 2:
        text = f"{parts[0]} {OPERATOR_SIGNS[name]} {parts[1]}"
        return text if depth == 0 else f"({text})"
    return f"{parts[0]}.{node.target}()" if node.op == "call_method" else f"{name}({', '.join(parts)})"
