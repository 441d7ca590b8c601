# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Torch modules among the attributes of a user's class: each becomes a Paddle layer when an instance is made.

What a module is called with is known only when ``forward`` runs. So Parts take the modules' places, forward runs once
on a blank image, and what was called then is traced, rebuilt and put where the modules were.
"""
from __future__ import annotations

import inspect
from collections import OrderedDict

import paddle
from paddle import nn
from ppdet.utils.logger import setup_logger

from ..errors import UserError
from ..graph.ops._leaf_args import build_leaf, is_leaf, read_leaf
from .torch_module import carry, layer_of, sizes_of, torch_types, weights_cfg

logger = setup_logger("ppdet_ext")

WHOLE = "or derive {} from torch.nn.Module, so that the whole class is bridged"


def place(layer):
    """Put a Part where an attribute of ``layer``, or of a Paddle layer inside it, is a torch module.

    Modules in lists, tuples and dicts count.

    Returns:
        Parts, empty where there are none.

    Raises:
        UserError: an attribute is a torch tensor.
    """
    parts = Parts(type(layer).__name__)
    if not torch_types()[0]:
        return parts
    for path, owner in layer.named_sublayers(include_self=True):
        for key, value in list(vars(owner).items()):
            if key not in _LAYER_ATTRIBUTES:
                placed = _placed(value, parts, ".".join(filter(None, [parts.name, path, key])))
                if placed is not value:
                    owner.__dict__[key] = placed
                    parts.places.append((owner, key))
    return parts


_LAYER_ATTRIBUTES = frozenset(vars(nn.Layer()))


def _placed(value, parts, where):
    module, tensor = torch_types()
    if isinstance(value, module):
        return parts.of(value, where)
    if isinstance(value, tensor):
        raise UserError(f"{where} is a torch tensor; make it Paddle's (paddle.to_tensor, self.create_parameter), "
                        f"{WHOLE.format(parts.name)}")
    if type(value) in (list, tuple):
        items = [_placed(item, parts, f"{where}.{index}") for index, item in enumerate(value)]
        return type(value)(items) if any(new is not old for new, old in zip(items, value)) else value
    if type(value) in (dict, OrderedDict):
        items = {key: _placed(item, parts, f"{where}.{key}") for key, item in value.items()}
        return items if any(items[key] is not value[key] for key in value) else value
    return value


class Parts:
    """The Parts of one instance of a user's class ``name``; ``places`` are the attributes that hold them."""

    def __init__(self, name):
        self.name = name
        self.places = []
        self._parts = {}

    def __bool__(self):
        return bool(self._parts)

    def of(self, module, where):
        """The Part of a module: one, wherever it is met."""
        return self._parts.setdefault(id(module), Part(self, module, where))

    def forget(self):
        """As if nothing had been called."""
        for part in self._parts.values():
            part._layer, part._used = None, False

    def sizes(self):
        return sizes_of(part._torch for part in list(self._parts.values()))

    def settle(self):
        """Put Paddle layers where the Parts are, and let the modules go.

        Raises:
            UserError: two of them share parameters; or a list or dict with Parts holds other things than layers.
        """
        self._check_sharing()
        unused = [part._where for part in self._top_parts() if not part._used and part.parameters(seen=self._trained())]
        done = {}
        for owner, key in self.places:
            setattr(owner, key, _settled(owner.__dict__[key], f"{type(owner).__name__}.{key}", done))
            getattr(owner, key).train() if owner.training else getattr(owner, key).eval()
        for part in self._parts.values():
            part._torch = None
        self._parts.clear()
        if unused:
            logger.warning("%s: left out, for forward does not call %s", self.name, ", ".join(unused))

    def weights_cfg(self):
        return weights_cfg(part._torch for part in self._top_parts())

    def _top_parts(self):
        found = []
        for owner, key in self.places:
            _walk(owner.__dict__[key], found.append)
        return found

    def _called(self):
        return [part for part in self._parts.values() if part._layer is not None]

    def _trained(self):
        return {id(parameter) for part in self._called() for parameter in part._torch.parameters()}

    def _check_sharing(self):
        owners = {}
        for part in self._called():
            for name, parameter in part._torch.named_parameters():
                first = owners.setdefault(id(parameter), part)
                if first is not part:
                    raise UserError(f"{part._where} and {first._where} are called and share parameters ({name}), which "
                                    f"they would not once bridged one by one; call one of them, "
                                    f"{WHOLE.format(self.name)}")


class Part:
    """Stands for a torch module in forward: callable with a Paddle tensor; its children and settings can be reached."""

    __slots__ = ("_layer", "_parts", "_torch", "_used", "_where")

    def __init__(self, parts, module, where):
        self._parts, self._torch, self._where = parts, module, where
        self._layer, self._used = None, False

    def __call__(self, *args, **kwargs):
        if len(args) != 1 or kwargs or not isinstance(args[0], paddle.Tensor):
            given = ", ".join([*(type(arg).__name__ for arg in args), *kwargs])
            raise UserError(f"{self._where} is called with ({given}); a torch module takes one tensor there; "
                            f"call it so, {WHOLE.format(self._parts.name)}")
        self._used = True
        if self._layer is None:
            self._layer = layer_of(self._torch, args[0].shape, self._where)
        return self._layer(*args)

    def __getattr__(self, name):
        value = getattr(self._torch, name)
        module, tensor = torch_types()
        if isinstance(value, module):
            return self._child(name, value)
        if isinstance(value, tensor) or inspect.ismethod(value):
            raise UserError(f"forward uses {self._where}.{name}; of a torch module, only calls of it and of its "
                            f"children are bridged: do without, {WHOLE.format(self._parts.name)}")
        return value

    def __getitem__(self, key):
        found = self._torch[key]
        name = next((name for name, child in self._torch.named_children() if child is found), None)
        if name is None:
            raise UserError(f"forward uses {self._where}[{key!r}], which is no child of it; take children one by one")
        return self._child(name, found)

    def __bool__(self):
        return True

    def __iter__(self):
        return iter([self._child(name, child) for name, child in self._torch.named_children()])

    def __len__(self):
        return len(self._torch)

    def __contains__(self, name):
        return name in self._torch

    def items(self):
        return zip(self._torch, self)

    def values(self):
        return iter(self)

    def keys(self):
        return self._torch.keys()

    def parameters(self, seen=()):
        return [parameter for parameter in self._torch.parameters() if id(parameter) not in seen]

    def _child(self, name, module):
        self._used = True
        return self._parts.of(module, f"{self._where}.{name}")

    def _settled(self, done):
        """The layer in its place: what was called; or its children, some of which were; or a note that nothing was."""
        if self not in done:
            if self._layer is not None:
                done[self] = self._layer
            elif self._used:
                children = self._torch.named_children()
                done[self] = Children(self, {name: self._parts.of(child, f"{self._where}.{name}")._settled(done)
                                             for name, child in children})
            elif is_leaf(self._torch) and not self.parameters():
                done[self] = build_leaf(read_leaf(self._torch))  # Dropout: called in training only
            else:
                done[self] = NotCalled(self._where, self._parts.name)
        return done[self]


class Children(nn.Layer):
    """The layers of a module that is not called itself."""

    def __init__(self, part, layers):
        super().__init__()
        self._where, self._name = part._where, part._parts.name
        for name, layer in layers.items():
            self.add_sublayer(name, layer)
        carry(part._torch, self)

    def __getitem__(self, key):
        return self._sub_layers[key] if isinstance(key, str) else list(self._sub_layers.values())[key]

    def __iter__(self):
        return iter(self._sub_layers.values())

    def __len__(self):
        return len(self._sub_layers)

    def __contains__(self, name):
        return name in self._sub_layers

    def items(self):
        return self._sub_layers.items()

    def values(self):
        return self._sub_layers.values()

    def keys(self):
        return self._sub_layers.keys()

    def forward(self, *_args, **_kwargs):
        raise _never_called(self._where, self._name)


class NotCalled(nn.Layer):
    """Where a module was that forward did not call on the blank image."""

    def __init__(self, where, name):
        super().__init__()
        self._where, self._name = where, name

    def forward(self, *_args, **_kwargs):
        raise _never_called(self._where, self._name)


def _never_called(where, name):
    return UserError(f"{where} was not bridged, because forward does not call it on a blank image in evaluation; call "
                     f"it there too, {WHOLE.format(name)}")


def _walk(value, visit):
    if isinstance(value, Part):
        visit(value)
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            _walk(item, visit)


def _settled(value, where, done):
    """Layers for Parts; a list or tuple of them becomes a LayerList, a dict a LayerDict: parameters must be found."""
    if isinstance(value, Part):
        return value._settled(done)
    if isinstance(value, dict):
        items = {key: _settled(item, f"{where}.{key}", done) for key, item in value.items()}
        wrong = [key for key, item in items.items() if not (isinstance(key, str) and isinstance(item, nn.Layer))]
        made = nn.LayerDict
    elif isinstance(value, (list, tuple)):
        items = [_settled(item, f"{where}.{index}", done) for index, item in enumerate(value)]
        wrong = [index for index, item in enumerate(items) if not isinstance(item, nn.Layer)]
        made = nn.LayerList
    else:
        return value
    if wrong:
        raise UserError(f"{where} holds torch modules beside other things (at {wrong[0]!r}); keep modules in a list of "
                        "their own, or in a dict with names as keys")
    return made(items)
