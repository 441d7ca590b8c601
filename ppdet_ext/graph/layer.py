# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From a Graph to a Paddle layer: real sublayers under the source's names, and a forward that is generated Python.

The generated source can be read (``layer.code``), appears in tracebacks, and is what to_static translates.
"""
from __future__ import annotations

import copy
import itertools
import linecache
import math
import re
import types
from collections import Counter

import paddle
from paddle import nn

from ..errors import Unsupported, UserError
from ..weights.layout_rules import RULES, Suffix
from .graph import Ref, walk
from .ops import OPS
from .ops._leaf_args import build_leaf
from .sizes_only import apart, remember

DROP_PATH_ARGS = {"DropPath": "drop_prob", "StochasticDepth": "p"}
_numbers = itertools.count()


class Container(nn.Layer):
    """A module that was looked into: holds sublayers, parameters and constants under their names, runs nothing."""

    def __getitem__(self, name):
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

    def __init__(self, graph, outputs=None, drop_path_rate=0.0, in_chans=3, num_classes=None):
        super().__init__()
        self._graph = graph  # names with a bar: those without belong to the source's modules
        outputs = graph.outputs if outputs is None else outputs
        refs = []
        walk(outputs, refs.append)
        self._nodes = graph.needed(refs)
        self._specs = adjusted_leaves(graph, drop_path_rate, in_chans, num_classes)
        for node in self._nodes:
            if node.kind in _HOLDERS:
                _HOLDERS[node.kind](self, node)
        self._begin()
        self._remembered = {}
        # looked for once, as every forward asks for its dtype; in a list, or it would become another sublayer
        self._with_parameters = [layer for layer in self.sublayers(include_self=True)
                                 if any(map(_there, layer._parameters.values()))][:1]
        writer = Writer(self, outputs)
        self._code, self._owned = writer.code, writer.owned
        self._functions = writer.functions()

    @property
    def graph(self):
        return self._graph

    @property
    def code(self):
        return self._code

    @property
    def owned(self):
        return self._owned

    @property
    def remembered(self):
        return self._remembered

    @property
    def float_dtype(self):
        """Name of the type that the network computes in: what ``x.to(y.dtype)`` meant when it was traced in float32."""
        for layer in self._with_parameters:
            return str(next(filter(_there, layer._parameters.values())).dtype).rpartition(".")[2]
        return paddle.get_default_dtype()

    def __getitem__(self, name):
        return self._sub_layers[name]

    def forward(self, *inputs):
        if self._graph.info.get("fixed"):
            check_size(self, inputs[0])
        values = self._functions["begin"](self, *inputs)
        for index in range(len(self._owned)):
            values = self.run_stage(index, values)
        return self._functions["end"](self, *values)

    def run_stage(self, index, values):
        """One stage: a tuple of values in, a tuple out."""
        return self._functions[f"stage_{index}"](self, *values)

    def _begin(self):
        """Random values as the source's own network begins with."""
        for name, parameter in self.named_parameters():
            kind, *numbers = self._graph.start.get(name, [None])
            if kind is not None and not parameter.stop_gradient:
                parameter.set_value(_FILLS[kind](parameter.shape, *numbers).astype(parameter.dtype))

    def holder(self, path):
        """``(Container, last name)`` for a dotted path; containers on the way are made."""
        layer = self
        *parents, name = path.split(".")
        for part in parents:
            if part not in layer._sub_layers:
                layer._sub_layers[part] = Container()
            layer = layer._sub_layers[part]
        return layer, name

    def _hold_leaf(self, node):
        owner, name = self.holder(node.target)
        if name not in owner._sub_layers:
            owner._sub_layers[name] = build_leaf(self._specs[node.target])

    def _hold_parameter(self, node):
        if any(other.kind == "leaf" and other.target == node.target.rpartition(".")[0] for other in self._nodes):
            return
        owner, name = self.holder(paddle_name(node.target))
        shape, dtype = self._graph.state[node.target], self._graph.dtypes.get(node.target, "float32")
        if name in owner._parameters or name in owner._buffers:
            return
        if node.target in self._graph.buffers:
            owner.register_buffer(name, paddle.zeros(shape, dtype))
        else:
            owner._parameters[name] = owner.create_parameter(shape, dtype=dtype, default_initializer=_START)

    def _hold_constant(self, node):
        owner, name = self.holder(node.target)
        if name not in owner._buffers:
            owner.register_buffer(name, paddle.to_tensor(self._graph.consts[node.target]), persistable=False)


_HOLDERS = {"leaf": GraphLayer._hold_leaf, "param": GraphLayer._hold_parameter, "const": GraphLayer._hold_constant}
_FILLS = {
    "constant": lambda shape, value: paddle.full(shape, value),
    "normal": lambda shape, mean, std: paddle.normal(mean, std, shape),
    "uniform": lambda shape, low, high: paddle.uniform(shape, min=low, max=high),
}
_START = nn.initializer.TruncatedNormal(0.0, 0.02)


def _there(value):
    return value is not None


def paddle_name(path):
    """A torch state dict name as Paddle's layer has it."""
    head, dot, tail = path.rpartition(".")
    return head + dot + {rule.torch: rule.paddle for rule in RULES if isinstance(rule, Suffix)}.get(tail, tail)


def adjusted_leaves(graph, drop_path_rate=0.0, in_chans=3, num_classes=None):
    """``graph.leaves`` with another stochastic depth, number of image channels or of classes."""
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
    if num_classes is not None and "logits" in graph.outputs:
        _replace(graph, leaves, "classifier", "out_features", num_classes, "num_classes")
    return leaves


def _replace(graph, leaves, role, key, value, setting):
    paths = graph.info.get(role) or ()
    for path in paths:
        if key not in leaves.get(path, {"args": ()})["args"]:
            raise UserError(f"{graph.name}: {setting} cannot be changed, '{path}' is not a plain layer")
        leaves[path] = _with(leaves[path], **{key: value})
    if not paths:
        raise UserError(f"{graph.name}: {setting} cannot be changed, it is not known where it enters")


def _with(spec, **args):
    spec = copy.deepcopy(spec)
    spec["args"].update(args)
    return spec


def check(layer, value, expected, words, branch):
    """What a guard becomes.

    Raises:
        UserError: the image has a size for which the network would compute something else than what was traced.
    """
    name = layer.graph.name
    if isinstance(value, paddle.Tensor) or hasattr(value, "block"):
        if paddle.in_dynamic_mode():
            value = value.item()
        elif branch:
            raise UserError(f"{name} decides by the image's size ({words}): export with a fixed image size")
        else:
            return
    if value != expected:
        size = "x".join(map(str, layer.graph.info.get("input_size", [])[1:]))
        raise UserError(f"{name} was traced at {size}, where {words} holds; for this image it does not: use a size for "
                        "which it does, or trace the network for yours (img_size)")


def check_size(layer, image):
    """UserError where a network that is made for one size sees another; a static graph may not know."""
    wanted, given = list(layer.graph.info["input_size"][1:]), list(image.shape[2:])
    if any(isinstance(side, int) and side not in (-1, want) for side, want in zip(given, wanted)):
        raise UserError(f"{layer.graph.name} is made for images of {wanted[0]}x{wanted[1]}, this one is "
                        f"{given[0]}x{given[1]}; build it for yours with img_size, where it has that setting")


class Writer:
    """Writes the source of a GraphLayer: one function for each sizes-only value, ``begin``, one a stage, ``end``."""

    def __init__(self, layer, outputs):
        self.layer, self.outputs = layer, outputs
        self.ops = types.SimpleNamespace()
        self.names = {"check": check, "remember": remember, "ops": self.ops, "inf": math.inf, "nan": math.nan}
        self.nodes, self.made = apart(layer._nodes, outputs)
        self.held = {}
        groups = self._split()
        self.owned = self._owners(groups)
        self.code = "\n\n".join(self._functions(groups)) + "\n"

    def functions(self):
        filename = f"<{self.layer.graph.name} {next(_numbers)}>"
        linecache.cache[filename] = (len(self.code), None, self.code.splitlines(True), filename)
        exec(compile(self.code, filename, "exec"), self.names)  # our own text, made from names in our own table
        return {name: self.names[name] for name in ("begin", "end", *(f"stage_{i}" for i in range(len(self.owned))))}

    def _split(self):
        """Nodes in groups, each ending with a feature's module; what follows the last one is a group of its own."""
        groups, first = [], 0
        for end in self._ends():
            groups.append([node for node in self.nodes[first:end] if node.kind != "input"])
            first = max(first, end)
        rest = [node for node in self.nodes[first:] if node.kind != "input"]
        groups = groups + [rest] if rest else groups
        return groups

    def _ends(self):
        """Index behind the last node of each feature's module, with the plain operations that follow it."""
        graph, nodes, end = self.layer.graph, self.nodes, 0
        for feature, ref in zip(graph.features, graph.outputs.get("features", ())):
            prefix = f"{feature['module']}."
            own = [index for index, node in enumerate(nodes) if node.kind in ("leaf", "param")
                   and f"{node.target}.".startswith(prefix)]
            own = own or [index for index, node in enumerate(nodes) if node.name == str(ref)]
            if not own:
                return
            end = max(end, own[-1] + 1)
            while end < len(nodes) and nodes[end].kind not in ("leaf", "param"):
                end += 1
            yield end

    @staticmethod
    def _owners(groups):
        """What each group uses first, in order."""
        seen, owners = set(), []
        for group in groups:
            found = dict.fromkeys((node.target, node.kind) for node in group if node.kind in ("leaf", "param"))
            owners.append([owner for owner in found if owner not in seen])
            seen.update(found)
        return owners

    def _functions(self, groups):
        kept = []
        walk(self.outputs, lambda ref: kept.append(str(ref)))
        after = [set(kept)]  # names alive behind each group, from the last one on
        for group in reversed(groups):
            made = {node.name for node in group}
            used = {name for node in group for name in node.inputs()}
            after.append((after[-1] - made) | (used - made))
        alive = [sorted(names) for names in reversed(after)]
        inputs = [node.name for node in self.nodes if node.kind == "input"]
        for index, made in enumerate(self.made):
            lines = [f"def made_{index}(self, {', '.join(made.numbers)}):"]
            lines += self._statements(made.nodes, made.numbers, [made.name])
            yield "\n    ".join([*lines, f"return {made.name}"])
        yield f"def begin(self, {', '.join(inputs)}):\n    return {_tuple(alive[0])}"
        for index, group in enumerate(groups):
            lines = [f"def stage_{index}(self, {', '.join(alive[index])}):"]
            lines += self._statements(group, alive[index], alive[index + 1])
            yield "\n    ".join([*lines, f"return {_tuple(alive[index + 1])}"])
        yield f"def end(self, {', '.join(alive[-1])}):\n    return {self._expression(self.outputs)}"

    def _statements(self, group, before, after):
        """A line for each node, and a ``del`` behind the last use of a value: memory is free for what follows."""
        self.held = self._holders(group)
        yield from (f"{name} = {_path(path)}" for path, name in self.held.items())
        last = {}
        for node in group:
            last.update(dict.fromkeys([*node.inputs(), node.name], node))
        for node in group:
            line = self._line(node)
            yield line if node.kind == "guard" else f"{node.name} = {line}"
            done = [name for name, user in last.items() if user is node and name not in after
                    and (node.kind != "guard" or name != node.name)]
            if done:
                yield f"del {', '.join(done)}"

    def _holders(self, group):
        """{path: name in the function} of the modules that own several leaves: looked up once, as it takes time."""
        used = Counter(node.target.rpartition(".")[0] for node in group if node.kind in _HOLDERS)
        taken, names = {node.name for node in self.nodes}, {}
        for path in (path for path, count in used.items() if path and count > 1):
            name = "in_" + re.sub(r"\W", "_", path)
            while name in taken:
                name += "_"
            taken.add(name)
            names[path] = name
        return names

    def _line(self, node):
        if node.kind == "leaf":
            return f"{_path(node.target, self.held)}({self._arguments(node)})"
        if node.kind == "const":
            return _path(node.target, self.held, attribute=True)
        if node.kind == "param":
            return self._parameter(node)
        if node.kind == "training":
            return "self.training"
        if node.kind == "made":
            return f"remember(self, {node.target}, made_{node.target}, {', '.join(map(str, node.args))})"
        if node.kind == "guard":
            condition, expected, branch = node.args
            return f"check(self, {self._expression(condition)}, {expected!r}, {node.target!r}, {branch})"
        text = f"{self._function(node.target)}({self._arguments(node)})"
        return text.replace("'float32'", "self.float_dtype") if node.target in (".to", ".type") else text

    def _parameter(self, node):
        """A parameter read directly; nn.Linear's is transposed in Paddle, here it is wanted as in torch."""
        text = _path(paddle_name(node.target), self.held, attribute=True)
        owner, _, name = node.target.rpartition(".")
        layer = self.layer.holder(owner)[0]._sub_layers.get(owner.rpartition(".")[2]) if owner else None
        return f"{text}.t()" if isinstance(layer, nn.Linear) and name == "weight" else text

    def _function(self, target):
        if target not in OPS:
            raise Unsupported(f"{self.layer.graph.name} needs the operation {target}, which this version does not "
                              "know; add it with @op from ppdet_ext.graph.ops")
        function = OPS[target]
        name = function.__name__.lstrip("_") if function.__name__.isidentifier() else "op"
        while vars(self.ops).setdefault(name, function) is not function:
            name += "_"
        return f"ops.{name}"

    def _arguments(self, node):
        return ", ".join([*map(self._expression, node.args),
                          *(f"{key}={self._expression(value)}" for key, value in node.kwargs.items())])

    def _expression(self, value):
        if isinstance(value, Ref):
            return str(value)
        if isinstance(value, tuple):
            return _tuple([self._expression(item) for item in value])
        if isinstance(value, list):
            return f"[{', '.join(map(self._expression, value))}]"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key!r}: {self._expression(item)}" for key, item in value.items()) + "}"
        if isinstance(value, slice):
            return f"slice({', '.join(self._expression(item) for item in (value.start, value.stop, value.step))})"
        return "..." if value is Ellipsis else repr(value)


def _tuple(items):
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def _path(path, held=(), attribute=False):
    """``self['layer1']['0']``; with ``attribute`` the last name is read off its owner; ``held`` as from _holders."""
    owner, _, name = path.rpartition(".")
    owner = held[owner] if owner in held else "self" + "".join(f"[{part!r}]" for part in owner.split(".") if part)
    return f"{owner}.{name}" if attribute else f"{owner}[{name!r}]"
