# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Torch modules among the attributes of a user's class: each becomes a Paddle layer when an instance is made.

What a module is called with is known only when ``forward`` runs. So proxies take the modules' places, forward runs once
on a blank image, and what was called then is traced, rebuilt and put where the modules were.
"""
from __future__ import annotations

import inspect
import types
from collections import OrderedDict
from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, KeysView, ValuesView
from typing import Any

import paddle
from paddle import nn
from ppdet.utils.logger import setup_logger

from ..errors import Unsupported, UserError
from ..graph.ops._leaf_args import build_leaf, is_leaf, read_leaf
from .torch_bridge import candidate_sizes, copy_attributes, layer_of, pretrained_cfg_of, torch_types

logger = setup_logger("ppdet_ext")

WHOLE = "or derive {} from torch.nn.Module, so that the whole class is bridged"
_LAYER_ATTRIBUTES = frozenset(vars(nn.Layer()))


def place_proxies(layer: nn.Layer) -> TorchModuleProxies:
    """Put a proxy where an attribute of ``layer``, or of a Paddle layer inside it, is a torch module.

    Modules in lists, tuples and dicts count.

    Returns:
        TorchModuleProxies, empty where there are none.

    Raises:
        Unsupported: an attribute is a torch tensor.
    """
    proxies = TorchModuleProxies(type(layer).__name__)
    if not torch_types()[0]:
        return proxies
    for path, owner in layer.named_sublayers(include_self=True):
        for key, value in list(vars(owner).items()):
            if key not in _LAYER_ATTRIBUTES:
                placed = _with_proxies(value, proxies, ".".join(filter(None, [proxies.name, path, key])))
                if placed is not value:
                    owner.__dict__[key] = placed
                    proxies.places.append((owner, key))
    return proxies


def modules_in(layer: nn.Layer) -> dict[str, Any]:
    """{path: torch module} of the attributes of ``layer`` that are torch modules, or lists or dicts of them."""
    found: dict[str, Any] = {}
    for path, owner in layer.named_sublayers(include_self=True):
        for key, value in vars(owner).items():
            if key not in _LAYER_ATTRIBUTES:
                _find_modules(value, ".".join(filter(None, [path, key])), found)
    return found


def _find_modules(value: Any, path: str, found: dict[str, Any]) -> None:
    if isinstance(value, torch_types()[0]):
        found[path] = value
    elif isinstance(value, (list, tuple, dict)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            _find_modules(item, f"{path}.{key}", found)


def _with_proxies(value: Any, proxies: TorchModuleProxies, where: str) -> Any:
    module, tensor = torch_types()
    if isinstance(value, module):
        return proxies.proxy_of(value, where)
    if isinstance(value, tensor):
        raise Unsupported(f"{where} is a torch tensor; make it Paddle's (paddle.to_tensor, self.create_parameter), "
                          f"{WHOLE.format(proxies.name)}")
    if type(value) in (list, tuple):
        items = [_with_proxies(item, proxies, f"{where}.{index}") for index, item in enumerate(value)]
        return type(value)(items) if any(new is not old for new, old in zip(items, value)) else value
    if type(value) in (dict, OrderedDict):
        named = {key: _with_proxies(item, proxies, f"{where}.{key}") for key, item in value.items()}
        return named if any(named[key] is not value[key] for key in value) else value
    return value


class TorchModuleProxies:
    """The proxies of one instance of a user's class ``name``; ``places`` are the attributes that hold them."""

    def __init__(self, name: str):
        self.name = name
        self.places: list[tuple[nn.Layer, str]] = []
        self._proxies: dict[int, TorchModuleProxy] = {}

    def __bool__(self) -> bool:
        return bool(self._proxies)

    def proxy_of(self, module: Any, where: str) -> TorchModuleProxy:
        """The proxy of a module: one, wherever it is met."""
        return self._proxies.setdefault(id(module), TorchModuleProxy(self, module, where))

    def forget_calls(self) -> None:
        """As if nothing had been called."""
        for proxy in self._proxies.values():
            proxy._layer, proxy._used = None, False

    def sizes(self) -> tuple[int, ...]:
        """Image sides to try, see ``candidate_sizes``."""
        return candidate_sizes([proxy._torch for proxy in self._proxies.values()])

    def replace_with_layers(self) -> None:
        """Put Paddle layers where the proxies are, and let the modules go.

        Raises:
            UserError: two of them share parameters; or a list or dict with proxies holds other things than layers.
        """
        self._check_sharing()
        trained = {id(parameter) for proxy in self._called() for parameter in proxy._torch.parameters()}
        unused = [proxy._where for proxy in self._placed() if not proxy._used and proxy.parameters(seen=trained)]
        made: dict[TorchModuleProxy, nn.Layer] = {}
        for owner, key in self.places:
            setattr(owner, key, _with_layers(owner.__dict__[key], f"{type(owner).__name__}.{key}", made))
            getattr(owner, key).train() if owner.training else getattr(owner, key).eval()
        for proxy in self._proxies.values():
            proxy._torch = None
        self._proxies.clear()
        if unused:
            logger.warning("%s: left out, for forward does not call %s", self.name, ", ".join(unused))

    def pretrained_cfg(self) -> types.SimpleNamespace | None:
        """See ``torch_bridge.pretrained_cfg_of``."""
        return pretrained_cfg_of([proxy._torch for proxy in self._placed()])

    def _placed(self) -> list[TorchModuleProxy]:
        found: list[TorchModuleProxy] = []
        for owner, key in self.places:
            _walk(owner.__dict__[key], found.append)
        return found

    def _called(self) -> list[TorchModuleProxy]:
        return [proxy for proxy in self._proxies.values() if proxy._layer is not None]

    def _check_sharing(self) -> None:
        owners: dict[int, TorchModuleProxy] = {}
        for proxy in self._called():
            for name, parameter in proxy._torch.named_parameters():
                first = owners.setdefault(id(parameter), proxy)
                if first is not proxy:
                    raise Unsupported(f"{proxy._where} and {first._where} are called and share parameters ({name}), "
                                      "which they would not once bridged one by one; call one of them, "
                                      f"{WHOLE.format(self.name)}")


class TorchModuleProxy:
    """Stands for a torch module in forward: callable with a Paddle tensor; its children and settings can be reached."""

    __slots__ = ("_layer", "_proxies", "_torch", "_used", "_where")

    def __init__(self, proxies: TorchModuleProxies, module: Any, where: str):
        self._proxies, self._torch, self._where = proxies, module, where
        self._layer: nn.Layer | None = None
        self._used = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) != 1 or kwargs or not isinstance(args[0], paddle.Tensor):
            given = ", ".join([*(type(arg).__name__ for arg in args), *kwargs])
            raise Unsupported(f"{self._where} is called with ({given}); a torch module takes one tensor there; "
                              f"call it so, {WHOLE.format(self._proxies.name)}")
        self._used = True
        if self._layer is None:
            self._layer = layer_of(self._torch, args[0].shape, self._where)
        return self._layer(*args)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._torch, name)
        module, tensor = torch_types()
        if isinstance(value, module):
            return self._child(name, value)
        if isinstance(value, tensor) or inspect.ismethod(value):
            raise Unsupported(f"forward uses {self._where}.{name}; of a torch module, only calls of it and of its "
                              f"children are bridged: do without, {WHOLE.format(self._proxies.name)}")
        return value

    def __getitem__(self, key: Any) -> TorchModuleProxy:
        found = self._torch[key]
        name = next((name for name, child in self._torch.named_children() if child is found), None)
        if name is None:
            raise UserError(f"forward uses {self._where}[{key!r}], which is no child of it; take children one by one")
        return self._child(name, found)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[TorchModuleProxy]:
        return iter([self._child(name, child) for name, child in self._torch.named_children()])

    def __len__(self) -> int:
        return len(self._torch)

    def __contains__(self, name: object) -> bool:
        return name in self._torch

    def items(self) -> Iterable[tuple[str, TorchModuleProxy]]:
        """As ModuleDict's."""
        return zip(self._torch, self)

    def values(self) -> Iterable[TorchModuleProxy]:
        """As ModuleDict's."""
        return iter(self)

    def keys(self) -> Iterable[str]:
        """As ModuleDict's."""
        return self._torch.keys()

    def parameters(self, seen: Collection[int] = ()) -> list[Any]:
        """The module's parameters, but for those whose ids are in ``seen``."""
        return [parameter for parameter in self._torch.parameters() if id(parameter) not in seen]

    def _child(self, name: str, module: Any) -> TorchModuleProxy:
        self._used = True
        return self._proxies.proxy_of(module, f"{self._where}.{name}")

    def _replacement(self, made: dict[TorchModuleProxy, nn.Layer]) -> nn.Layer:
        """The layer in its place: what was called; or its children, some of which were; or a note that nothing was."""
        if self not in made:
            if self._layer is not None:
                made[self] = self._layer
            elif self._used:
                children = self._torch.named_children()
                made[self] = ChildLayers(self, {
                    name: self._proxies.proxy_of(child, f"{self._where}.{name}")._replacement(made)
                    for name, child in children})
            elif is_leaf(self._torch) and not self.parameters():
                made[self] = build_leaf(read_leaf(self._torch))  # Dropout: called in training only
            else:
                made[self] = NotCalled(self._where, self._proxies.name)
        return made[self]


class NotCalled(nn.Layer):
    """Where a module was that forward did not call on the blank image."""

    def __init__(self, where: str, name: str):
        super().__init__()
        self._where, self._name = where, name

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        """Raises Unsupported, always."""
        raise Unsupported(f"{self._where} was not bridged, because forward does not call it on a blank image in "
                          f"evaluation; call it there too, {WHOLE.format(self._name)}")


class ChildLayers(NotCalled):
    """The layers of a module that is not called itself."""

    def __init__(self, proxy: TorchModuleProxy, layers: dict[str, nn.Layer]):
        super().__init__(proxy._where, proxy._proxies.name)
        for name, layer in layers.items():
            self.add_sublayer(name, layer)
        copy_attributes(proxy._torch, self)

    def __getitem__(self, key: str | int) -> nn.Layer:
        return self._sub_layers[key] if isinstance(key, str) else list(self._sub_layers.values())[key]

    def __iter__(self) -> Iterator[nn.Layer]:
        return iter(self._sub_layers.values())

    def __len__(self) -> int:
        return len(self._sub_layers)

    def __contains__(self, name: object) -> bool:
        return name in self._sub_layers

    def items(self) -> ItemsView[str, nn.Layer]:
        """As LayerDict's."""
        return self._sub_layers.items()

    def values(self) -> ValuesView[nn.Layer]:
        """As LayerDict's."""
        return self._sub_layers.values()

    def keys(self) -> KeysView[str]:
        """As LayerDict's."""
        return self._sub_layers.keys()


def _walk(value: Any, visit: Callable[[TorchModuleProxy], Any]) -> None:
    if isinstance(value, TorchModuleProxy):
        visit(value)
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            _walk(item, visit)


def _with_layers(value: Any, where: str, made: dict[TorchModuleProxy, nn.Layer]) -> Any:
    """Layers for proxies; a list or tuple of them becomes a LayerList, a dict a LayerDict: parameters must be found."""
    if isinstance(value, TorchModuleProxy):
        return value._replacement(made)
    if isinstance(value, dict):
        named = {key: _with_layers(item, f"{where}.{key}", made) for key, item in value.items()}
        wrong = [key for key, item in named.items() if not (isinstance(key, str) and isinstance(item, nn.Layer))]
        held: Any = named if wrong else nn.LayerDict(named)
    elif isinstance(value, (list, tuple)):
        items = [_with_layers(item, f"{where}.{index}", made) for index, item in enumerate(value)]
        wrong = [index for index, item in enumerate(items) if not isinstance(item, nn.Layer)]
        held = items if wrong else nn.LayerList(items)
    else:
        return value
    if wrong:
        raise UserError(f"{where} holds torch modules beside other things (at {wrong[0]!r}); keep modules in a list of "
                        "their own, or in a dict with names as keys")
    return held
