# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Leaf modules as data: what is read off a torch module, and the Paddle layer built from it. Needs no torch itself."""
from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from paddle import nn

from ...errors import Unsupported, UserError, nearest
from ._table import LEAVES

if TYPE_CHECKING:
    import torch

# Classes of other origin that happen to have a leaf's name (torchvision's own LayerNorm2d, a user's DropPath) are
# looked into instead. A leaf that a user adds is taken by its name alone.
ORIGINS = ("torch.nn.modules.", "timm.layers.", "torchvision.ops.")
OWN = __name__.split(".")[0] + "."

# the leaves of stochastic depth, and the argument that is their rate
DROP_PATH_ARGS = {"DropPath": "drop_prob", "StochasticDepth": "p"}

LIMITS: dict[str, dict[str, tuple]] = {}  # class name -> attribute -> values that its Paddle layer can have


def only(*names: str, **values: Any) -> None:
    """The Paddle layers of these classes can have only such ``attribute=(value, ...)``; lists stand for tuples."""
    for name in names:
        LIMITS.setdefault(name, {}).update(values)


def is_leaf(module: torch.nn.Module) -> bool:
    """True when the table has a Paddle layer for this torch module, so that a trace need not look into it."""
    kind = type(module)
    entry = LEAVES.get(kind.__name__)
    return entry is not None and (kind.__module__.startswith(ORIGINS) or not entry.build.__module__.startswith(OWN))


def read_leaf(module: torch.nn.Module) -> dict[str, Any]:
    """torch module -> ``{"type": class name, "args": {attribute: value}, "children": {name: the same}}``, JSON-able.

    A parameter or buffer is read as whether it is there; an attribute that the class does not have is left out; a
    dotted one (``gamma.shape``) arrives with an underscore (``gamma_shape``).

    Raises:
        UserError: the class is not in the table, or has a setting that its Paddle layer cannot have.
    """
    name = type(module).__name__
    if not is_leaf(module):
        raise Unsupported(f"torch module {type(module).__module__}.{name} has no Paddle layer{nearest(name, LEAVES)}; "
                          "add one with @ppdet_ext.graph.ops.leaf (docs/bridge.md)")
    _check(module, name)
    entry = LEAVES[name]
    args = {key.replace(".", "_"): _value(module, name, key) for key in entry.args
            if hasattr(module, key.partition(".")[0])}
    children = {key: read_leaf(getattr(module, key)) for key in entry.children
                if getattr(module, key, None) is not None}
    return {"type": name, "args": args, "children": children}


def build_leaf(spec: dict[str, Any]) -> nn.Layer:
    """The Paddle layer of what ``read_leaf`` returned.

    Raises:
        UserError: the table has no such class, or it cannot be built with these settings.
    """
    name = spec["type"]
    if name not in LEAVES:
        raise UserError(f"the graph holds a layer {name} that is not in the table{nearest(name, LEAVES)}; "
                        "import the module that registers it first")
    children = {key: build_leaf(child) for key, child in spec["children"].items()}
    try:
        return LEAVES[name].build(**spec["args"], **children)
    except UserError:
        raise
    except Exception as error:  # whatever Paddle's constructors raise
        reason = " ".join(str(error).split())[-200:]
        raise UserError(f"the layer {name} of the graph cannot be built: {type(error).__name__}: {reason}") from error


def _check(module, name):
    if module._forward_pre_hooks:
        raise UserError(f"{name} has a hook that runs before it (weight_norm, spectral_norm?), which Paddle would not "
                        "run; remove it, e.g. with torch.nn.utils.remove_weight_norm")
    for key, values in LIMITS.get(name, {}).items():
        if not hasattr(module, key):
            continue
        value = _value(module, name, key)
        if value not in values:
            known = ", ".join(repr(each) for each in values)
            raise UserError(f"{name} with {key}={value!r} has no counterpart in Paddle; known: {known}")


def _value(module, name, key):
    value = attrgetter(key)(module)
    if key in module._parameters or key in module._buffers:
        return value is not None
    return _plain(value, f"{name}.{key}")


def _plain(value, where):
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(each, where) for each in value]
    if type(value).__name__ == "dtype":
        return str(value).rpartition(".")[2]
    raise UserError(f"{where} is a {type(value).__name__}, which a graph cannot keep")
