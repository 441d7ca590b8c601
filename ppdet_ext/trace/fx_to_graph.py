# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From the graph that torch.fx recorded to ours: calls by the table's names, leaves as specs, constants as arrays."""
from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import torch
from torch import fx

from ..errors import UserError
from ..graph.graph import Graph, Node, Ref
from ..graph.ops._leaf_args import read_leaf
from ..graph.schema import is_variable
from .fx_nodes import guard, op_name, training_mode
from .initializers import INITIALIZERS, InitializerRecorder, of_module
from .tracer import attribute_at
from .weightless import NeedsValues

DROPPED = ("device", "memory_format", "layout", "out", "non_blocking", "pin_memory", "requires_grad", "generator")


class FxToGraph:
    """fx's graph and its module -> Graph."""

    def __init__(self, model: torch.nn.Module, fx_graph: fx.Graph) -> None:
        self.model, self.fx_graph = model, fx_graph
        self.state = model.state_dict()
        self.parameters = dict(model.named_parameters(remove_duplicate=False))
        self.leaves: dict[str, dict] = {}
        self.consts: dict[str, np.ndarray] = {}
        self.dtypes: dict[str, str] = {}

    def graph(self, name: str) -> Graph:
        """The Graph, called ``name`` in messages."""
        nodes: list[Node] = []
        outputs: Any = {}
        for node in self.fx_graph.nodes:
            if node.op == "output":
                outputs = _argument(node.args[0])
            else:
                nodes.append(self._node(node))
        if not isinstance(outputs, dict):
            outputs = {"output": outputs}
        return Graph(name, nodes, outputs, leaves=self.leaves, consts=self.consts, dtypes=self.dtypes,
                     state={key: list(value.shape) for key, value in self.state.items()},
                     start=vars(self.model).get(INITIALIZERS) or of_module(self.model, InitializerRecorder()),
                     buffers=[key for key in self.state if key not in self.parameters])

    def _node(self, node):
        make = {"placeholder": self._input, "get_attr": self._held, "call_module": self._leaf,
                "call_method": self._call, "call_function": self._call}[node.op]
        return make(node)

    def _input(self, node):
        return Node(_name(node), "input")

    def _held(self, node):
        """A parameter or buffer by its path, or a constant with its value."""
        if node.target in self.state:
            dtype = _argument(self.state[node.target].dtype)
            if dtype != "float32":
                self.dtypes[node.target] = dtype
            return Node(_name(node), "param", node.target)
        value = node.meta["held"] if "held" in node.meta else attribute_at(self.model, node.target)
        if value.is_meta:
            raise NeedsValues(f"the constant {node.target} has no value")
        self.consts[node.target] = _array(value)
        return Node(_name(node), "const", node.target)

    def _leaf(self, node):
        if node.target not in self.leaves:
            self.leaves[node.target] = read_leaf(self.model.get_submodule(node.target))
        return Node(_name(node), "leaf", node.target, _argument(list(node.args)), _argument(dict(node.kwargs)))

    def _call(self, node):
        if node.target is guard:
            condition, expected, words, branch = node.args
            return Node(_name(node), "guard", words, [_argument(condition), expected, branch])
        if node.target is training_mode:
            return Node(_name(node), "training")
        args, attribute = list(node.args), None
        if node.target is builtins.getattr:
            attribute = args.pop()
        kwargs = {key: value for key, value in node.kwargs.items() if key not in DROPPED}
        target = op_name(node.op, node.target, attribute)
        return Node(_name(node), "call", target, _argument([arg for arg in args if not _is_place(arg)]),
                    _argument(kwargs))


def _name(node):
    """A node's name as a variable of generated source, where some names have a meaning already."""
    return node.name if is_variable(node.name) else f"{node.name}_"


def _is_place(value):
    """torch's devices and memory formats mean nothing to Paddle."""
    return isinstance(value, (torch.device, torch.memory_format, torch.layout))


def _argument(value):
    """fx's arguments in the graph's terms: Ref for a node, names for dtypes."""
    if isinstance(value, fx.Node):
        return Ref(_name(value))
    if isinstance(value, dict):
        return {key: _argument(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_argument(item) for item in value)
    if isinstance(value, list):
        return [_argument(item) for item in value]
    if isinstance(value, slice):
        return slice(_argument(value.start), _argument(value.stop), _argument(value.step))
    if isinstance(value, torch.dtype):
        return str(value).rpartition(".")[2]
    if isinstance(value, (type(None), type(Ellipsis), bool, int, float, str)):
        return value
    raise UserError(f"an argument of type {type(value).__name__} cannot be written down ({value!r})")


def _array(tensor):
    return np.array(tensor.detach().cpu().numpy())
