# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A graph's leaf layers with the user's settings: stochastic depth, channels of the image, number of classes."""
from __future__ import annotations

import copy
from typing import Any

from ..errors import UserError
from .graph import Graph
from .ops._leaf_args import DROP_PATH_ARGS

NOTHING: dict = {"type": "Identity", "args": {}, "children": {}}  # what timm has in place of a classifier of no classes


def adjusted_leaves(graph: Graph, drop_path_rate: float = 0.0, in_chans: int = 3,
                    num_classes: int | None = None) -> dict[str, dict]:
    """``graph.leaves`` with another stochastic depth, number of image channels or of classes.

    Raises:
        UserError: the graph cannot follow a setting.
    """
    leaves = dict(graph.leaves)
    rates = {path: DROP_PATH_ARGS[spec["type"]] for path, spec in leaves.items() if spec["type"] in DROP_PATH_ARGS}
    highest = max((leaves[path]["args"][key] for path, key in rates.items()), default=0.0)
    if drop_path_rate and not highest:
        raise UserError(f"{graph.name} has no stochastic depth; leave drop_path_rate out")
    for path, key in rates.items():
        scaled = leaves[path]["args"][key] * drop_path_rate / highest if highest else 0.0
        leaves[path] = _with(leaves[path], **{key: scaled})
    if in_chans != 3:
        _replace(graph, leaves, "first_conv", "in_channels", in_chans, "in_chans")
    if num_classes == 0 and "logits" in graph.outputs:
        leaves.update((path, NOTHING) for path in graph.info.get("classifier") or () if path in leaves)
    elif num_classes is not None and "logits" in graph.outputs:
        _replace(graph, leaves, "classifier", "out_features", num_classes, "num_classes")
    return leaves


def _replace(graph: Graph, leaves: dict[str, dict], role: str, key: str, value: int, setting: str) -> None:
    paths = graph.info.get(role) or ()
    for path in paths:
        if key not in leaves.get(path, {"args": ()})["args"]:
            raise UserError(f"{graph.name}: {setting} cannot be changed, '{path}' is not a plain layer")
        leaves[path] = _with(leaves[path], **{key: value})
    if not paths:
        raise UserError(f"{graph.name}: {setting} cannot be changed, it is not known where it enters")


def _with(spec: dict, **args: Any) -> dict:
    spec = copy.deepcopy(spec)
    spec["args"].update(args)
    return spec
