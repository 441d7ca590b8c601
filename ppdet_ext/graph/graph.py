# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A network as pure data: nodes, leaf layers and their settings, parameter names and shapes, constants.

Made from a torch module by ``trace``, kept in a file by ``graph_file``, made into a Paddle layer by ``layer``; needs
neither framework itself.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

import numpy as np


class Ref(str):
    """The value of the node of this name, as an argument."""

    __slots__ = ()


@dataclass
class Node:
    """One step.

    ``kind`` says what ``target`` is:
        input     the image; no target
        param     path of a parameter or a persistent buffer
        const     key of ``Graph.consts``
        leaf      path of a leaf layer, called with args
        call      name of an entry of ``ops.OPS``, called with args and kwargs
        training  whether the network is in training mode
        guard     what args[0] must be (args[1]) for the graph to hold, in words; args[2]: it guards a branch, not an
                  assertion
    """
    name: str
    kind: str
    target: str = ""
    args: list = field(default_factory=list)
    kwargs: dict = field(default_factory=dict)

    def inputs(self) -> list[str]:
        """Names of the nodes whose values this one takes, in order."""
        found: list[str] = []
        walk((self.args, self.kwargs), lambda ref: found.append(str(ref)))
        return found


@dataclass
class Graph:
    """A traced network.

    Attributes:
        name: 'resnet50', 'torchvision/resnet50' or the class of a user's module.
        nodes: in the order of execution.
        outputs: {'features': [Ref, ...], 'logits': Ref}; other keys for a user's module.
        features: [{'num_chs', 'reduction', 'module'}, ...] of outputs['features'].
        leaves: {path: leaf spec}, see ops._leaf_args.
        state: {name: shape} of everything in the source's state dict, in its order and its names.
        buffers: those names in ``state`` that are not trained.
        dtypes: {name: dtype} of parameters and buffers read by a node, where it is not float32.
        start: {parameter name: its initializer}, see ``trace.initializers``.
        consts: {key: array} of values that are not in the state dict.
        info: what it was traced with and from: input size, settings, versions, drop_path_rate, classifier, patch.
    """
    name: str
    nodes: list[Node]
    outputs: dict[str, Any]
    features: list[dict[str, Any]] = field(default_factory=list)
    leaves: dict[str, dict] = field(default_factory=dict)
    state: dict[str, list[int]] = field(default_factory=dict)
    buffers: list[str] = field(default_factory=list)
    dtypes: dict[str, str] = field(default_factory=dict)
    start: dict[str, list] = field(default_factory=dict)
    consts: dict[str, np.ndarray] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    def guards(self) -> list[str]:
        """The conditions under which the graph holds, in words, each once."""
        return list(dict.fromkeys(node.target for node in self.nodes if node.kind == "guard"))

    def needed(self, refs: Sequence[str]) -> list[Node]:
        """The nodes that the values ``refs`` depend on, in order, with the guards that were met on the way to them.

        A guard after the last of them says nothing of them, unless they are all that the network gives: then it may
        have decided which values these are.
        """
        producers = {node.name: node for node in self.nodes}
        wanted = _reached(producers, refs)
        everything: list[Ref] = []
        walk(self.outputs, everything.append)
        last = max((index for index, node in enumerate(self.nodes) if node.name in wanted), default=-1)
        last = len(self.nodes) if set(everything) <= wanted else last
        guards = [node.name for node in self.nodes[:last + 1] if node.kind == "guard"]
        wanted |= _reached(producers, guards)
        return [node for node in self.nodes if node.name in wanted]


def _reached(producers: dict[str, Node], names: Sequence[str]) -> set[str]:
    """``names`` and all that their values are computed from."""
    found: set[str] = set()
    waiting = [str(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(producers[name].inputs())
    return found


def walk(value: Any, visit: Callable[[Ref], Any]) -> None:
    """Call ``visit`` on every Ref inside nested lists, tuples, dicts and slices."""
    if isinstance(value, Ref):
        visit(value)
    elif isinstance(value, (list, tuple)):
        for item in value:
            walk(item, visit)
    elif isinstance(value, dict):
        for item in value.values():
            walk(item, visit)
    elif isinstance(value, slice):
        walk((value.start, value.stop, value.step), visit)
