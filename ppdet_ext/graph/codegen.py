# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The source of a graph's forward, as Python that can be read.

It consists of names that were checked, numbers, and words of letters. Every other text is bound to a name of ours.
"""
from __future__ import annotations

import itertools
import keyword
import linecache
import math
import re
import types
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Callable

from paddle import nn

from ..errors import Unsupported, UserError
from ..weights.layout_rules import RULES, Suffix
from .graph import Node, Ref, walk
from .guards import Guard, check
from .hoist_constants import HoistedValue, hoist_constants, remember
from .ops import OPS
from .schema import is_variable

if TYPE_CHECKING:
    from .layer import GraphLayer

HELD = ("leaf", "param", "const")  # kinds whose target is a path in the layer
FOLLOW_DTYPE = (".to", ".type")  # a cast to what the network was traced in is one to what it computes in now
_PATH_PART = re.compile(r"[A-Za-z0-9_-]+")
_numbers = itertools.count()


class SourceWriter:
    """Writes the source of a GraphLayer: a function for each hoisted value, ``begin``, one for each stage, ``end``.

    Args:
        layer: whose forward it is; its sublayers and parameters exist.
        nodes: what it computes, in order.
        outputs: nested lists or dicts of Refs, in whose shape ``end`` returns their values.

    Attributes:
        code: the source.
        owned: see GraphLayer.

    Raises:
        UserError: a name that cannot be one in Python, or an operation that is not in the table.
    """

    def __init__(self, layer: GraphLayer, nodes: list[Node], outputs: Any) -> None:
        self.layer, self.outputs = layer, outputs
        self.variables = {node.name for node in nodes}
        self.ops = types.SimpleNamespace()
        self.namespace: dict[str, Any] = {"check": check, "remember": remember, "ops": self.ops, "inf": math.inf,
                                          "nan": math.nan}
        for name in self.variables:
            if not is_variable(name):
                raise UserError(f"{layer.graph.name} has a node {name!r}, which is no name of a variable")
        self.nodes, hoisted = hoist_constants(nodes, outputs)
        self.hoisted = {self._free(f"hoisted_{index}"): value for index, value in enumerate(hoisted)}
        self.holders: dict[str, str] = {}
        groups = self._stages()
        self.owned = self._owners(groups)
        self.code = "\n\n".join(self._functions(groups)) + "\n"

    def functions(self) -> dict[str, Callable]:
        """``begin``, ``end`` and ``stage_0`` ... as functions."""
        filename = f"<{self.layer.graph.name} {next(_numbers)}>"
        linecache.cache[filename] = (len(self.code), None, self.code.splitlines(True), filename)
        exec(compile(self.code, filename, "exec"), self.namespace)  # noqa: S102  made of checked names, see above
        return {name: self.namespace[name] for name in ("begin", "end",
                  *(f"stage_{i}" for i in range(len(self.owned))))}

    def _stages(self) -> list[list[Node]]:
        """Nodes in groups, each ending with a feature's module; what follows the last one is a group of its own."""
        groups, first = [], 0
        for end in self._ends():
            groups.append([node for node in self.nodes[first:end] if node.kind != "input"])
            first = max(first, end)
        rest = [node for node in self.nodes[first:] if node.kind != "input"]
        return [*groups, rest] if rest else groups

    def _ends(self) -> Iterator[int]:
        """Index after the last node of each feature's module, with the plain operations that follow it."""
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
    def _owners(groups: list[list[Node]]) -> list[list[tuple[str, str]]]:
        """What each group uses first, in order."""
        seen: set[tuple[str, str]] = set()
        owners = []
        for group in groups:
            found = dict.fromkeys((node.target, node.kind) for node in group if node.kind in ("leaf", "param"))
            owners.append([owner for owner in found if owner not in seen])
            seen.update(found)
        return owners

    def _functions(self, groups: list[list[Node]]) -> Iterator[str]:
        alive = self._alive(groups)
        inputs = [node.name for node in self.nodes if node.kind == "input"]
        for name, value in self.hoisted.items():
            yield self._hoisted_function(name, value)
        yield f"def begin(self, {', '.join(inputs)}):\n    return {_tuple(alive[0])}"
        for index, group in enumerate(groups):
            lines = [f"def stage_{index}(self, {', '.join(alive[index])}):"]
            lines += self._statements(group, alive[index + 1])
            yield "\n    ".join([*lines, f"return {_tuple(alive[index + 1])}"])
        yield f"def end(self, {', '.join(alive[-1])}):\n    return {self._expression(self.outputs)}"

    def _hoisted_function(self, name: str, value: HoistedValue) -> str:
        lines = [f"def {name}(self, {', '.join(value.numbers)}):", *self._statements(value.nodes, [value.name])]
        return "\n    ".join([*lines, f"return {value.name}"])

    def _alive(self, groups: list[list[Node]]) -> list[list[str]]:
        """Names whose values are still used, before each group and after the last."""
        kept: list[str] = []
        walk(self.outputs, lambda ref: kept.append(str(ref)))
        after = [set(kept)]  # from the last group on
        for group in reversed(groups):
            made = {node.name for node in group}
            used = {name for node in group for name in node.inputs()}
            after.append((after[-1] - made) | (used - made))
        return [sorted(names) for names in reversed(after)]

    def _statements(self, group: list[Node], after: Iterable[str]) -> Iterator[str]:
        """A line for each node, and a ``del`` after the last use of a value: memory is free for what follows."""
        self.holders = self._shared_holders(group)
        yield from (f"{name} = {self._path(path, {})}" for path, name in self.holders.items())
        last: dict[str, Node] = {}
        for node in group:
            last.update(dict.fromkeys([*node.inputs(), node.name], node))
        for node in group:
            line = self._line(node)
            yield line if node.kind == "guard" else f"{node.name} = {line}"
            done = [name for name, user in last.items() if user is node and name not in after
                    and (node.kind != "guard" or name != node.name)]
            if done:
                yield f"del {', '.join(done)}"

    def _shared_holders(self, group: list[Node]) -> dict[str, str]:
        """{path: name in the function} of the modules that own several leaves: looked up once, as it takes time."""
        used = Counter(node.target.rpartition(".")[0] for node in group if node.kind in HELD)
        names: dict[str, str] = {}
        for path in (path for path, count in used.items() if path and count > 1):
            names[path] = self._free("in_" + re.sub(r"\W", "_", path, flags=re.ASCII), names.values())
        return names

    def _free(self, name: str, taken: Iterable[str] = ()) -> str:
        """``name``, with bars where a node or another thing has it."""
        taken = {*taken, *self.variables, *self.namespace}
        while name in taken:
            name += "_"
        return name

    def _bound(self, stem: str, value: Any) -> str:
        """A name for a value that is not written into the source."""
        name = self._free(f"{stem}_{len(self.namespace)}")
        self.namespace[name] = value
        return name

    def _line(self, node: Node) -> str:
        if node.kind == "leaf":
            return f"{self._path(node.target, self.holders)}({self._arguments(node)})"
        if node.kind == "const":
            return self._attribute(node.target)
        if node.kind == "param":
            return self._parameter(node)
        if node.kind == "training":
            return "self.training"
        if node.kind == "hoisted":
            index, function = int(node.target), list(self.hoisted)[int(node.target)]
            return f"remember(self, {index}, {function}, {', '.join(map(self._expression, node.args))})"
        if node.kind == "guard":
            condition, expected, branch = node.args
            return f"check(self, {self._bound('guard', Guard(expected, node.target, branch))}, " \
                   f"{self._expression(condition)})"
        if node.kind == "call":
            return f"{self._function(node.target)}({self._arguments(node)})"
        raise UserError(f"{self.layer.graph.name} has a node of the unknown kind {node.kind!r}")

    def _parameter(self, node: Node) -> str:
        """A parameter read directly; nn.Linear's is transposed in Paddle, here it is wanted as in torch."""
        text = self._attribute(paddle_name(node.target))
        owner, _, name = node.target.rpartition(".")
        layer = self.layer.holder(owner)[0]._sub_layers.get(owner.rpartition(".")[2]) if owner else None
        return f"{text}.t()" if isinstance(layer, nn.Linear) and name == "weight" else text

    def _function(self, target: str) -> str:
        if target not in OPS:
            raise Unsupported(f"{self.layer.graph.name} needs the operation {target}, which this version does not "
                              "know; add it with @op from ppdet_ext.graph.ops")
        function = OPS[target].function
        name = function.__name__.lstrip("_")
        name = name if name.isidentifier() and not keyword.iskeyword(name) else "op"
        while vars(self.ops).setdefault(name, function) is not function:
            name += "_"
        return f"ops.{name}"

    def _arguments(self, node: Node) -> str:
        follows = node.target in FOLLOW_DTYPE

        def argument(value: Any) -> str:
            return "self.float_dtype" if follows and value == "float32" else self._expression(value)

        return ", ".join([*map(argument, node.args),
                          *(f"{self._keyword(key)}={argument(value)}" for key, value in node.kwargs.items())])

    def _keyword(self, name: str) -> str:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise UserError(f"{self.layer.graph.name} has an argument {name!r}, which is no name in Python")
        return name

    def _expression(self, value: Any) -> str:
        if isinstance(value, Ref):
            if value not in self.variables:
                raise UserError(f"{self.layer.graph.name} uses {str(value)!r}, which is no node of it")
            return str(value)
        if isinstance(value, str):
            return self._word(value)
        if value is None or isinstance(value, (bool, int, float)):
            return repr(value)
        if value is Ellipsis:
            return "..."
        if isinstance(value, tuple):
            return _tuple([self._expression(item) for item in value])
        if isinstance(value, list):
            return f"[{', '.join(map(self._expression, value))}]"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{self._expression(key)}: {self._expression(item)}"
                                   for key, item in value.items()) + "}"
        if isinstance(value, slice):
            return f"slice({', '.join(self._expression(item) for item in (value.start, value.stop, value.step))})"
        raise UserError(f"{self.layer.graph.name} has an argument of type {type(value).__name__}")

    def _word(self, text: str) -> str:
        """A text in quotes where it is a word of letters, digits and bars, else a name that is bound to it."""
        return f"'{text}'" if _PATH_PART.fullmatch(text) else self._bound("text", text)

    def _path(self, path: str, holders: dict[str, str]) -> str:
        """``self['layer1']['0']``; ``holders`` as from _shared_holders."""
        owner, _, name = path.rpartition(".")
        return f"{self._owner(owner, holders)}[{self._word(name)}]"

    def _attribute(self, path: str) -> str:
        """``self['layer1'].weight``."""
        owner, _, name = path.rpartition(".")
        holder = self._owner(owner, self.holders)
        plain = name.isidentifier() and not keyword.iskeyword(name)
        return f"{holder}.{name}" if plain else f"getattr({holder}, {self._word(name)})"

    def _owner(self, path: str, holders: dict[str, str]) -> str:
        if path in holders:
            return holders[path]
        return "self" + "".join(f"[{self._word(part)}]" for part in path.split(".") if part)


def _tuple(items: list[str]) -> str:
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def paddle_name(path: str) -> str:
    """A torch state dict name as Paddle's layer has it."""
    head, dot, tail = path.rpartition(".")
    return head + dot + {rule.torch: rule.paddle for rule in RULES if isinstance(rule, Suffix)}.get(tail, tail)
