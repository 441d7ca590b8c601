# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A network as pure data: nodes, leaf layers and their settings, parameter names and shapes, constants. JSON inside.

Made from a torch module by ``trace``, made into a Paddle layer by ``layer``; needs neither framework itself.
"""
from __future__ import annotations

import base64
import gzip
import json
import zlib
from dataclasses import dataclass, field

import numpy as np

from ..errors import UserError
from ..files import atomic_path

FORMAT = 1


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

    def inputs(self):
        """Names of the nodes whose values this one takes, in order."""
        found = []
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
        start: {parameter name: how it begins}, see ``starts``.
        consts: {key: array} of values that are not in the state dict.
        info: what it was traced with and from: input size, settings, versions, drop_path_rate, classifier, patch.
    """
    name: str
    nodes: list
    outputs: dict
    features: list = field(default_factory=list)
    leaves: dict = field(default_factory=dict)
    state: dict = field(default_factory=dict)
    buffers: list = field(default_factory=list)
    dtypes: dict = field(default_factory=dict)
    start: dict = field(default_factory=dict)
    consts: dict = field(default_factory=dict)
    info: dict = field(default_factory=dict)

    def guards(self):
        """The conditions under which the graph holds, in words, each once."""
        return list(dict.fromkeys(node.target for node in self.nodes if node.kind == "guard"))

    def needed(self, refs):
        """The nodes that the values ``refs`` depend on, in order, with the guards that were met on the way to them.

        A guard behind the last of them says nothing of them, unless they are all that the network gives: then it may
        have decided which values these are.
        """
        everything = []
        walk(self.outputs, everything.append)
        producers = {node.name: node for node in self.nodes}
        wanted, waiting = set(), [str(ref) for ref in refs]
        while waiting:
            name = waiting.pop()
            if name not in wanted:
                wanted.add(name)
                waiting.extend(producers[name].inputs())
        last = max((index for index, node in enumerate(self.nodes) if node.name in wanted), default=-1)
        last = len(self.nodes) if set(everything) <= wanted else last
        for node in self.nodes[:last + 1]:
            if node.kind == "guard":
                waiting.extend(node.inputs())
                wanted.add(node.name)
        while waiting:
            name = waiting.pop()
            if name not in wanted:
                wanted.add(name)
                waiting.extend(producers[name].inputs())
        return [node for node in self.nodes if node.name in wanted]

    def save(self, path):
        """Write as gzip-compressed JSON."""
        with atomic_path(path) as temporary, gzip.GzipFile(temporary, "wb", 9, mtime=0) as file:
            file.write(json.dumps(_encoded(vars(self)), separators=(",", ":")).encode())


def load(path):
    """The Graph in ``path``.

    Raises:
        UserError: not such a file, or one of another format.
    """
    try:
        with gzip.open(path, "rb") as file:
            content = json.loads(file.read())
        if content.get("format") != FORMAT:
            raise UserError(f"'{path}' is a graph of format {content.get('format')}, this version reads {FORMAT}; "
                            "remove it to trace the network anew")
        return _decoded(content)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{path}' holds no traced network ({type(error).__name__}: {error}); remove it to trace the "
                        "network anew") from None


def walk(value, visit):
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


def _encoded(fields):
    nodes = [[node.name, node.kind, node.target, _plain(node.args), _plain(node.kwargs)] for node in fields["nodes"]]
    consts = {key: _packed(value) for key, value in fields["consts"].items()}
    return {"format": FORMAT, **fields, "nodes": nodes, "outputs": _plain(fields["outputs"]), "consts": consts}


def _decoded(content):
    nodes = [Node(name, kind, target, _rich(args), _rich(kwargs)) for name, kind, target, args, kwargs
             in content.pop("nodes")]
    consts = {key: _unpacked(value) for key, value in content.pop("consts").items()}
    outputs = _rich(content.pop("outputs"))
    content.pop("format")
    return Graph(nodes=nodes, consts=consts, outputs=outputs, **content)


def _plain(value):
    """JSON for what arguments are made of; one-key objects {'$': ...} stand for what JSON does not have."""
    if isinstance(value, Ref):
        return {"$": str(value)}
    if isinstance(value, tuple):
        return {"$tuple": [_plain(item) for item in value]}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, slice):
        return {"$slice": [_plain(item) for item in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"$ellipsis": 0}
    if isinstance(value, float) and not np.isfinite(value):
        return {"$float": repr(value)}
    return value


_RICH = {
    "$": Ref,
    "$tuple": lambda items: tuple(_rich(item) for item in items),
    "$slice": lambda items: slice(*(_rich(item) for item in items)),
    "$ellipsis": lambda _: Ellipsis,
    "$float": float,
}


def _rich(value):
    if isinstance(value, list):
        return [_rich(item) for item in value]
    if isinstance(value, dict):
        key = next(iter(value), "")
        return _RICH[key](value[key]) if key in _RICH else {name: _rich(item) for name, item in value.items()}
    return value


def _packed(array):
    data = base64.b85encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
    return [str(array.dtype), list(array.shape), data]


def _unpacked(packed):
    dtype, shape, data = packed
    return np.frombuffer(zlib.decompress(base64.b85decode(data)), dtype).reshape(shape).copy()
