# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Values that follow from sizes alone: attention masks, position grids, tables of angles.

A network computes them for every image; a layer made from its graph computes them once for each size, see ``remember``.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

import paddle

from .graph import Node, Ref, walk
from .ops import OPS
from .ops._values import any_tensor

if TYPE_CHECKING:
    from .layer import GraphLayer

KEPT = 256  # values that a layer remembers; multi-scale training has some ten sizes


@dataclass
class HoistedValue:
    """A value as a function of the nodes in ``numbers``."""
    name: str
    numbers: list[str]
    nodes: list[Node]


def hoist_constants(nodes: list[Node], outputs: Any) -> tuple[list[Node], list[HoistedValue]]:
    """Take the nodes of sizes-only values out; a node of kind 'hoisted' stands for each result.

    Returns:
        the nodes that are left, and the values.
    """
    kinds = _kinds(nodes)
    by_name = {node.name: node for node in nodes}
    wanted = {name for node in nodes if kinds[node.name] != "hoisted" for name in node.inputs()}
    walk(outputs, lambda ref: wanted.add(str(ref)))
    functions: list[HoistedValue] = []
    kept = []
    for node in nodes:
        if kinds[node.name] == "hoisted" and node.name in wanted:
            steps = _steps(node, kinds, by_name, nodes)
            if sum(step.kind == "call" for step in steps) > 1:
                numbers = [name for step in steps for name in step.inputs() if kinds[name] != "hoisted"]
                functions.append(HoistedValue(node.name, list(dict.fromkeys(numbers)), steps))
                node = Node(node.name, "hoisted", str(len(functions) - 1),
                    [Ref(name) for name in functions[-1].numbers])
        kept.append(node)
    return _used(kept, kinds, wanted), functions


def _kinds(nodes: list[Node]) -> dict[str, str]:
    """'number' (a size, or what is computed from sizes), 'hoisted' (a value of these alone) or 'data', by node."""
    kinds: dict[str, str] = {}
    for node in nodes:
        inputs = {kinds[name] for name in node.inputs()}
        if node.kind == "const":
            kinds[node.name] = "hoisted"
        elif node.kind != "call" or node.target not in OPS or OPS[node.target].random:
            kinds[node.name] = "data"
        elif OPS[node.target].metadata:
            kinds[node.name] = "hoisted" if inputs == {"hoisted"} else "number"
        elif inputs <= {"number"}:
            kinds[node.name] = "hoisted" if OPS[node.target].creates else "number"
        else:
            kinds[node.name] = "hoisted" if inputs <= {"number", "hoisted"} else "data"
    return kinds


def _steps(node: Node, kinds: dict[str, str], by_name: dict[str, Node], nodes: list[Node]) -> list[Node]:
    """The sizes-only nodes that lead to this one, in order."""
    found, waiting = set(), [node.name]
    while waiting:
        name = waiting.pop()
        if name not in found and kinds[name] == "hoisted":
            found.add(name)
            waiting.extend(by_name[name].inputs())
    return [one for one in nodes if one.name in found]


def _used(nodes: list[Node], kinds: dict[str, str], wanted: set[str]) -> list[Node]:
    """Without the sizes-only nodes that only others of them took."""
    needed = set(wanted)
    for node in reversed(nodes):
        if kinds[node.name] != "hoisted" or node.name in needed:
            needed.update(node.inputs())
    return [node for node in nodes if kinds[node.name] != "hoisted" or node.name in needed]


@paddle.jit.not_to_static
def remember(layer: GraphLayer, index: int, make: Callable, *numbers: Any) -> Any:
    """``make(layer, *numbers)``, computed once for these numbers; in full precision, whatever AMP is on.

    A static graph of known sizes holds the value, one of open sizes computes it.
    """
    flat = [item for number in numbers for item in (number if isinstance(number, (list, tuple)) else [number])]
    if any_tensor(*flat) or min((item for item in flat if isinstance(item, int)), default=0) < 0:
        return make(layer, *numbers)
    if not paddle.in_dynamic_mode():
        with paddle.base.dygraph.guard(paddle.base.framework._current_expected_place()):
            value = remember(layer, index, make, *numbers)
        return _held(layer, f"hoisted_{index}", value)
    key = index, repr(numbers), layer.float_dtype, paddle.get_device()
    values = layer.remembered
    if key not in values:
        if len(values) >= KEPT:
            values.clear()
        with paddle.no_grad(), paddle.amp.auto_cast(False):
            values[key] = make(layer, *numbers)
    return values[key]


def _held(layer: GraphLayer, name: str, value: Any) -> Any:
    """``value``, eager tensors, as buffers of the layer, which are what a static graph can hold."""
    if isinstance(value, (list, tuple)):
        return type(value)(_held(layer, f"{name}_{place}", item) for place, item in enumerate(value))
    if not isinstance(value, paddle.Tensor):
        return value
    layer.register_buffer(name, value, persistable=False)
    return getattr(layer, name)
