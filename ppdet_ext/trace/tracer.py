# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The tracer: run a torch module once, without weights, and write down what it did.

A ``torch.fx.Tracer`` whose proxies carry values. Arithmetic on a proxy and calls with one are recorded and computed, so
sizes stay expressions; ``if``, ``int()``, ``len()`` and iteration take the value and record what it was as a guard.
Imports torch: only ``trace`` imports this file, when something is to be traced.
"""
from __future__ import annotations

import builtins
import contextlib
import math
import operator
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import fx

from ..errors import Unsupported, UserError
from ..graph.ops import LEAVES, OPS
from ..graph.ops._leaf_args import is_leaf
from ..graph.ops._table import Op
from . import aliases
from .fx_nodes import AUGMENTATION, guard, op_name, training_mode, words
from .proxies import TrainingProxy, ValueProxy
from .shape_inference import ShapeInference, run_leaf
from .torch_patches import creation_watched, everything_open, modes_watched, whole_functions
from .weightless import NeedsValues

STALE = ("a tensor is used that was changed in place through another one that shares its memory, which a traced "
         "network cannot follow; change it by name, or a copy")
_CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict, torch.nn.ParameterList,
               torch.nn.ParameterDict)


class Tracer(fx.Tracer):
    """See the file's docstring.

    Args:
        example: the image that the run sees, without storage.
        training: trace what the network does in training mode.

    Attributes:
        mode_branches: classes of modules that ask ``if self.training``.
        module_outputs: {path: (node name, shape)} of modules that gave one tensor, in the order of their end.
    """

    proxy_buffer_attributes = True

    def __init__(self, example: torch.Tensor, training: bool = False) -> None:
        super().__init__(autowrap_modules=(math,), autowrap_functions=tuple(whole_functions()))
        self.example = example
        self.training = training
        self.mode_branches: set[str] = set()
        self.module_outputs: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.computing = False
        self._stale: list[ValueProxy] = []  # values that were changed through others

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        self._inference = ShapeInference(root, self._run)
        kinds = {kind for module in root.modules() for kind in type(module).__mro__}
        self._autowrap_search += [sys.modules[name] for name in sorted({kind.__module__ for kind in kinds})]
        with modes_watched(self, root), everything_open(), creation_watched(self), torch.no_grad():
            return super().trace(root, concrete_args)

    def is_leaf_module(self, module: torch.nn.Module, path: str) -> bool:
        own = type(module).__module__.startswith("torch.") and not isinstance(module, _CONTAINERS)
        return own or is_leaf(module)

    def proxy(self, node: fx.Node) -> ValueProxy:
        return ValueProxy(node, self)

    def create_arg(self, a: Any) -> Any:
        return super().create_arg(tuple(a) if isinstance(a, torch.Size) else a)

    def create_node(self, kind: str, target: Any, args: tuple, kwargs: dict, *more: Any, **settings: Any) -> fx.Node:
        node = super().create_node(kind, target, args, kwargs, *more, **settings)
        if kind == "output" and set(node.all_input_nodes) & {value.node for value in self._stale}:
            raise self.error(STALE)
        return node

    def create_proxy(self, kind: str, target: Any, args: tuple, kwargs: dict, name: str | None = None,
                     type_expr: Any = None, proxy_factory_fn: Any = None) -> Any:
        if kind == "call_function" and target is torch._assert:
            return self.add_assertion(*args, **kwargs)
        if kind == "call_function" and kwargs.get("inplace") is True:
            return self.in_place(target, args[0], args[1:], {**kwargs, "inplace": False})
        if kind == "call_method" and _works_in_place(target) and isinstance(args[0], ValueProxy):
            return self.in_place(target, args[0], args[1:], kwargs)
        if kind == "call_function" and op_name(kind, target, None) == AUGMENTATION:
            kwargs = {**kwargs, "training": TrainingProxy(self, self.root)}
        if kind == "call_module" and getattr(self.root.get_submodule(target), "inplace", False) is True:
            proxy = self._recorded(kind, target, args, kwargs, name, in_place=True)
            self._replace(args[0], proxy, proxy.value)
            return args[0]
        return self._recorded(kind, target, args, kwargs, name)

    def _recorded(self, kind, target, args, kwargs, name=None, in_place=False):
        self._check_known(kind, target)
        entry = self._entry(kind, target, args)
        self._check_fresh(entry, target, (args, kwargs))
        proxy = super().create_proxy(kind, target, args, kwargs, name)
        inputs = _tensors((args, kwargs))
        with self._computation():
            proxy.value, shared = self._compute(kind, target, args, kwargs, inputs)
        if entry is not None and entry.view and not in_place:
            for parent, index in aliases.parents_of(target, args, [inputs[place] for place in shared]):
                proxy.look_into(parent, index)
        if isinstance(proxy.value, torch.Tensor):
            proxy.node.meta["shape"] = tuple(proxy.value.shape)
        if kind == "get_attr":
            proxy.node.meta["held"] = proxy.value  # some modules exchange what they hold
        return proxy

    def _entry(self, kind, target, args):
        """The entry of the table for a call; None for what is no call of the network's."""
        if kind == "call_module":
            return LEAVES.get(type(self.root.get_submodule(target)).__name__)
        attribute = args[1] if target is builtins.getattr else None
        return OPS.get(op_name(kind, target, attribute)) if kind in ("call_function", "call_method") else None

    def in_place(self, target: Any, changed: ValueProxy, args: tuple, kwargs: dict | None = None) -> ValueProxy:
        """Record a call that changes ``changed``, which from here on means the result."""
        kind = "call_method" if isinstance(target, str) else "call_function"
        proxy = self._recorded(kind, target, (changed, *args), kwargs or {}, in_place=True)
        self._replace(changed, proxy, changed.value if proxy.value is None else proxy.value)
        return changed

    def _replace(self, changed, proxy, value):
        """From here on ``changed`` means the result, and so do the values that share its memory."""
        changed.node, changed.value = proxy.node, value
        self._stale += aliases.changed(changed, self._write_back)

    def _write_back(self, whole, index, part):
        whole.node = self._recorded("call_function", operator.setitem, (whole, index, part), {}).node

    def add_guard(self, proxy: ValueProxy, known: Any) -> None:
        text = words(proxy.node) if isinstance(proxy.value, bool) else f"{words(proxy.node)} == {known!r}"
        text = text if known is not False else f"not {text}"
        self.create_node("call_function", guard, (proxy.node, known, text, True), {})

    def add_assertion(self, condition: Any, message: str = "") -> None:
        if not isinstance(condition, ValueProxy):
            if not condition:
                raise self.error(f"the network refuses: {message}")
            return
        if isinstance(condition.value, torch.Tensor) and condition.value.is_meta:
            return
        if not condition.value:
            raise self.error(f"the network refuses: {words(condition.node)} ({message})")
        self.create_node("call_function", guard, (condition.node, True, words(condition.node), False), {})

    def error(self, what: str, kind: type[UserError] = UserError) -> UserError:
        """UserError that says where in the network and in which line of whose file it happened."""
        return kind(f"{what} (in {_place(self.scope.module_path, self.root)}, {_source_line()})")

    def call_module(self, m: torch.nn.Module, forward: Any, args: tuple, kwargs: dict) -> Any:
        if self.computing:
            return forward(*args, **kwargs)
        try:
            path = self.path_of_module(m)
        except NameError:  # made on the way, such as a slice of a Sequential: its parts have paths
            return forward(*args, **kwargs)
        output = super().call_module(m, forward, args, kwargs)
        if isinstance(output, ValueProxy) and isinstance(output.value, torch.Tensor):
            self.module_outputs.pop(path, None)  # in the order of their end
            self.module_outputs[path] = (output.node.name, tuple(output.value.shape))
        return output

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict) -> Any:
        if self.computing or isinstance(attr_val, ValueProxy):  # some modules keep what they computed
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def iter(self, obj: Any) -> Any:
        return obj.__iter__()

    def keys(self, obj: Any) -> Any:
        return obj.value.keys()

    def to_bool(self, obj: Any) -> bool:
        return bool(obj)

    def _check_known(self, kind, target):
        if kind == "call_module":
            module = self.root.get_submodule(target)
            if not is_leaf(module):
                name = type(module).__name__
                raise self.error(f"layer '{target}' is a {name}, which has no Paddle twin yet; add one with "
                                 f"@leaf('{name}', ...) from ppdet_ext.graph.ops", Unsupported)
        elif kind in ("call_function", "call_method"):
            name = op_name(kind, target, None)
            if name not in OPS and target not in (guard, training_mode, builtins.getattr):
                raise self.error(f"the operation {name} is not in the table; add it with @op('{name}') from "
                                 "ppdet_ext.graph.ops", Unsupported)

    def _check_fresh(self, entry, target, arguments):
        metadata = target is builtins.getattr if entry is None else isinstance(entry, Op) and entry.metadata
        if not metadata and any(value.stale for value in _proxies(arguments)):
            raise self.error(STALE)

    @contextlib.contextmanager
    def _computation(self) -> Iterator[None]:
        before, self.computing = self.computing, True
        try:
            yield
        finally:
            self.computing = before

    def _compute(self, kind, target, args, kwargs, inputs):
        """The result of a call, and the places in ``inputs`` of what it shares memory with."""
        if kind == "placeholder":
            return self.example, []
        if kind == "get_attr":
            return attribute_at(self.root, target), []
        return self._inference.compute(kind, target, _values(args), _values(kwargs), [one.value for one in inputs])

    def _run(self, kind, target, args, kwargs):
        try:
            if kind == "call_function" and op_name(kind, target, None) == AUGMENTATION:
                return args[0]
            if kind == "call_module":
                return run_leaf(self.root.get_submodule(target), args, kwargs)
            return getattr(args[0], target)(*args[1:], **kwargs) if kind == "call_method" else target(*args, **kwargs)
        except NeedsValues:
            raise
        except Exception as error:
            raise self.error(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


def _proxies(arguments):
    found = []
    fx.node.map_aggregate(arguments, lambda item: found.append(item) if isinstance(item, ValueProxy) else None)
    return found


def _tensors(arguments):
    """The proxies of tensors inside nested arguments, in order."""
    return [value for value in _proxies(arguments) if isinstance(value.value, torch.Tensor)]


def _works_in_place(method):
    return method.endswith("_") and not method.endswith("__")


def attribute_at(root: torch.nn.Module, path: str) -> Any:
    """What lies at a dotted path of a module."""
    for name in path.split("."):
        root = getattr(root, name)
    return root


def _values(arguments):
    """The values that proxies inside nested arguments carry."""
    if isinstance(arguments, ValueProxy):
        return arguments.value
    if isinstance(arguments, TrainingProxy):
        return arguments.tracer.training
    if isinstance(arguments, tuple) and not hasattr(arguments, "_fields"):
        return tuple(_values(item) for item in arguments)
    if isinstance(arguments, list):
        return [_values(item) for item in arguments]
    if isinstance(arguments, dict):
        return {key: _values(item) for key, item in arguments.items()}
    if isinstance(arguments, slice):
        return slice(_values(arguments.start), _values(arguments.stop), _values(arguments.step))
    return arguments


def _place(path, root):
    return f"module '{path}'" if path else type(root).__name__


def _source_line(skipped=(str(Path(__file__).parent), str(Path(torch.__file__).parent))):
    """'file.py:123' of the innermost frame that is neither torch's nor ours."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith((*skipped, "<")):
        frame = frame.f_back
    return f"{'/'.join(Path(frame.f_code.co_filename).parts[-2:])}:{frame.f_lineno}" if frame else "unknown line"
