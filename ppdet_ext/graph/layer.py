# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From a Graph to a Paddle layer: real sublayers under the source's names, and a forward that is generated Python.

The generated source can be read (``layer.code``), appears in tracebacks, and is what to_static translates.
"""
from __future__ import annotations

from typing import Any, Callable

import paddle
from paddle import nn

from ..errors import UserError
from .codegen import SourceWriter, paddle_name
from .graph import Graph, Node, Ref, walk
from .guards import check_size
from .leaf_settings import adjusted_leaves
from .ops._leaf_args import build_leaf


class Container(nn.Layer):
    """A module that was looked into: holds sublayers, parameters and constants under their names, runs nothing."""

    def __getitem__(self, name: str) -> nn.Layer:
        return self._sub_layers[name]


class GraphLayer(nn.Layer):
    """The network of a Graph; forward gives ``outputs`` of it.

    Args:
        graph: Graph; it is not changed.
        outputs: nested lists or dicts of Refs, in whose shape forward returns their values; None for graph.outputs.
        drop_path_rate: stochastic depth of the last block; the others' scale with it.
        in_chans: channels of the image, where it is not 3.
        num_classes: outputs of the classifier; None for the traced number.

    Attributes:
        graph: the Graph.
        code: source of what runs.
        owned: [[(path, 'leaf' | 'param'), ...], ...], by the stage that uses it first: one stage up to each feature of
            the graph that ``outputs`` need, and one for what follows.

    Raises:
        UserError: a setting that this graph cannot follow, or a leaf or operation that this version does not know.
    """

    def __init__(self, graph: Graph, outputs: Any = None, drop_path_rate: float = 0.0, in_chans: int = 3,
                 num_classes: int | None = None) -> None:
        super().__init__()
        self._graph = graph  # names with a bar: those without belong to the source's modules
        outputs = graph.outputs if outputs is None else outputs
        refs: list[Ref] = []
        walk(outputs, refs.append)
        self._nodes = graph.needed(refs)
        self._specs = adjusted_leaves(graph, drop_path_rate, in_chans, num_classes)
        for node in self._nodes:
            if node.kind in _HOLDERS:
                _HOLDERS[node.kind](self, node)
        self._initialize()
        self._remembered: dict[tuple, Any] = {}
        # looked for once, as every forward asks for its dtype; in a list, or it would become another sublayer
        self._with_parameters = [layer for layer in self.sublayers(include_self=True)
                                 if any(map(_there, layer._parameters.values()))][:1]
        writer = SourceWriter(self, self._nodes, outputs)
        self._code, self._owned = writer.code, writer.owned
        self._functions = writer.functions()

    @property
    def graph(self) -> Graph:
        return self._graph

    @property
    def code(self) -> str:
        return self._code

    @property
    def owned(self) -> list[list[tuple[str, str]]]:
        return self._owned

    @property
    def remembered(self) -> dict[tuple, Any]:
        return self._remembered

    @property
    def float_dtype(self) -> str:
        """Name of the type that the network computes in: what ``x.to(y.dtype)`` meant when it was traced in float32."""
        for layer in self._with_parameters:
            return str(next(filter(_there, layer._parameters.values())).dtype).rpartition(".")[2]
        return paddle.get_default_dtype()

    def __getitem__(self, name: str) -> nn.Layer:
        return self._sub_layers[name]

    def forward(self, *inputs: paddle.Tensor) -> Any:
        if self._graph.info.get("fixed"):
            check_size(self, inputs[0])
        values = self._functions["begin"](self, *inputs)
        for index in range(len(self._owned)):
            values = self.run_stage(index, values)
        return self._functions["end"](self, *values)

    def run_stage(self, index: int, values: tuple) -> tuple:
        """One stage: a tuple of values in, a tuple out."""
        return self._functions[f"stage_{index}"](self, *values)

    def _initialize(self) -> None:
        """Random values as the source's own network begins with."""
        for name, parameter in self.named_parameters():
            kind, *numbers = self._graph.start.get(name, [None])
            if kind is not None and not parameter.stop_gradient:
                parameter.set_value(_FILLS[kind](parameter.shape, *numbers).astype(parameter.dtype))

    def holder(self, path: str) -> tuple[nn.Layer, str]:
        """``(Container, last name)`` for a dotted path; containers on the way are made."""
        layer = self
        *parents, name = path.split(".")
        for part in parents:
            if part not in layer._sub_layers:
                layer._sub_layers[part] = Container()
            layer = layer._sub_layers[part]
        return layer, name

    def _hold_leaf(self, node: Node) -> None:
        owner, name = self.holder(node.target)
        if name not in owner._sub_layers:
            owner._sub_layers[name] = build_leaf(self._specs[node.target])

    def _hold_parameter(self, node: Node) -> None:
        if any(other.kind == "leaf" and other.target == node.target.rpartition(".")[0] for other in self._nodes):
            return
        owner, name = self.holder(paddle_name(node.target))
        shape: list[int] = self._graph.state[node.target]
        dtype: Any = self._graph.dtypes.get(node.target, "float32")
        if name in owner._parameters or name in owner._buffers:
            return
        if node.target in self._graph.buffers:
            self._hold_buffer(owner, name, paddle.zeros(shape, dtype), node.target)
        else:
            owner._parameters[name] = owner.create_parameter(shape, dtype=dtype, default_initializer=_START)

    def _hold_constant(self, node: Node) -> None:
        owner, name = self.holder(node.target)
        if name not in owner._buffers:
            self._hold_buffer(owner, name, paddle.to_tensor(self._graph.consts[node.target]), node.target, False)

    def _hold_buffer(self, owner: nn.Layer, name: str, value: paddle.Tensor, path: str, saved: bool = True) -> None:
        if hasattr(owner, name):
            raise UserError(f"{self._graph.name} has a buffer '{path}', a name that a Paddle layer has already")
        owner.register_buffer(name, value, persistable=saved)


_HOLDERS = {"leaf": GraphLayer._hold_leaf, "param": GraphLayer._hold_parameter, "const": GraphLayer._hold_constant}
_FILLS: dict[str, Callable] = {
    "constant": lambda shape, value: paddle.full(shape, value),
    "normal": lambda shape, mean, std: paddle.normal(mean, std, shape),
    "uniform": lambda shape, low, high: paddle.uniform(shape, min=low, max=high),
}
_START = nn.initializer.TruncatedNormal(0.0, 0.02)


def _there(value: Any) -> bool:
    return value is not None
