# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Torch modules that a user's class holds, or is: each becomes a Paddle layer with its weights when the class is built.

What a module is called with is known only when ``forward`` runs. So Parts take the modules' places, forward runs once on
a blank image, and what was called then is traced, rebuilt and put where the modules were.
"""
from __future__ import annotations

import contextlib
import inspect
import sys
import types
from collections import OrderedDict

import paddle
from paddle import nn
from ppdet.utils.logger import setup_logger

from .bridge import trace
from .bridge.layer import GraphLayer, paddle_name
from .bridge.ops._leaf_args import build_leaf, is_leaf, read_leaf
from .bridge.report import load_into
from .bridge.rules import to_paddle
from .errors import UserError

logger = setup_logger("ppdet_ext")

# Tried in this order. A trace on small images may hold for small ones only (windows larger than the map).
SIZES = (256, 224, 384, 448, 512, 640, 128, 64)
# what another image size would not mend: these words stand in the tracer's messages
HOPELESS = ("ppdet_ext.bridge.ops", "data-dependent", "derive ")
WHOLE = "or derive {} from torch.nn.Module, so that the whole class is bridged"
# of a torch class, what PaddleDetection reads off a class
CLASS_SETTINGS = ("__shared__", "__inject__", "__category__", "from_config", "in_chans", "pretrained_cfg")


# --- looking for torch modules ---------------------------------------------------------------------------------------

def is_module_class(cls):
    """Whether ``cls`` is a torch module's class (torch is looked at only if something imported it)."""
    return issubclass(cls, _torch_types()[0])


def _torch_types():
    """(Module, Tensor) of torch, or two empty tuples where nothing imported it."""
    torch = sys.modules.get("torch")
    return (torch.nn.Module, torch.Tensor) if torch else ((), ())


def place(layer):
    """Put a Part where an attribute of ``layer``, or of a Paddle layer inside it, is a torch module.

    Modules in lists, tuples and dicts count.

    Returns:
        Parts, empty where there are none.

    Raises:
        UserError: an attribute is a torch tensor.
    """
    parts = Parts(type(layer).__name__)
    if not _torch_types()[0]:
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
    module, tensor = _torch_types()
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


# --- in the modules' places ------------------------------------------------------------------------------------------

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
        """Put Paddle layers where the Parts are.

        Raises:
            UserError: two of them share parameters; or a list or dict with Parts holds other things than layers.
        """
        self._check_sharing()
        unused = [part._where for part in self._top_parts() if not part._used and part.parameters(seen=self._trained())]
        done = {}
        for owner, key in self.places:
            setattr(owner, key, _settled(owner.__dict__[key], f"{type(owner).__name__}.{key}", done))
            getattr(owner, key).train() if owner.training else getattr(owner, key).eval()
        if unused:
            logger.warning("%s: left out, for forward does not call %s", self.name, ", ".join(unused))

    def weights_cfg(self):
        """What the one module that says it says of its weights (mean, std, ...), as attributes; None otherwise."""
        found = [cfg for cfg in (_pretrained_cfg(part._torch) for part in self._top_parts()) if cfg]
        return types.SimpleNamespace(**found[0]) if len(found) == 1 else None

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

    __slots__ = ("_parts", "_torch", "_where", "_layer", "_used")

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
        module, tensor = _torch_types()
        if isinstance(value, module):
            return self._child(name, value)
        if isinstance(value, tensor) or inspect.ismethod(value):
            raise UserError(f"forward uses {self._where}.{name}; of a torch module only calls of it and of its children "
                            f"are bridged: make it another way, {WHOLE.format(self._parts.name)}")
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
    return UserError(f"{where} was not bridged, because forward does not call it on a blank image in evaluation; call it "
                     f"there too, {WHOLE.format(name)}")


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


# --- from a module to a layer ----------------------------------------------------------------------------------------

def layer_of(module, shape, where):
    """The Paddle layer of a torch module that is given a tensor of ``shape``, with its weights, in evaluation mode.

    Raises:
        UserError: it cannot be followed; the line says where and why.
    """
    if is_leaf(module):
        layer = build_leaf(read_leaf(module))
    else:
        graph = traced(module, shape, where)
        layer = GraphLayer(graph, graph.outputs["output"])
    fill(layer, module, where)
    layer.eval()
    return layer


def traced(module, shape, where, forward=None):
    """Graph of what ``forward`` (a function of module and tensor) gives, under the output 'output'.

    The batch is two, whatever it is in ``shape``: a size of one means more than itself to some operations.
    """
    run = forward or type(module).forward

    def one_tensor(self, x):  # the defaults of other parameters hold
        return {"output": run(self, x)}

    with trace._running(module, one_tensor):
        graph = trace.trace_module(module, (2, *shape[1:]), where)
    different = graph.info.get("training_differs")
    if different:
        logger.warning("%s: %s computes something else in training ('if self.training'); bridged, it does what it does "
                       "in evaluation always", where, ", ".join(different))
    return graph


def fill(layer, module, where):
    """Give ``layer`` the weights of ``module``, its frozen and its tied parameters, and its plain attributes."""
    tensors = to_paddle({name: _array(value, f"{where}.{name}") for name, value in module.state_dict().items()}, layer)
    unused = tuple(name for name in tensors if name not in layer.state_dict())
    report = load_into(layer, tensors, unused=unused, label=where, source="the torch module")
    logger.info("%s is bridged from torch's %s: %s", where, type(module).__name__, report.counts())
    _tie(layer, module, where)
    own = dict(layer.named_parameters())
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad and name in own:
            own[name].stop_gradient = True
    carry(module, layer)


def _array(tensor, where):
    tensor = tensor.detach().cpu()
    if tensor.is_meta:
        raise UserError(f"{where} has no value (torch's meta device); build the module with weights")
    if tensor.is_quantized:
        raise UserError(f"{where} is quantised; give the module in floating point")
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def _tie(layer, module, where):
    """What is one parameter under two names in ``module`` is one in ``layer``."""
    first = {}
    for path, parameter in module.named_parameters(remove_duplicate=False):
        *parents, name = path.split(".")
        owner = layer
        for parent in parents:
            owner = owner._sub_layers.get(parent) if owner is not None else None
        if owner is None or name not in owner._parameters:
            continue
        kept = first.setdefault(id(parameter), owner._parameters[name])
        if kept.shape != owner._parameters[name].shape:
            raise UserError(f"{where}: '{path}' is shared with a layer that Paddle keeps in another layout; untie them")
        owner._parameters[name] = kept


def carry(module, layer):
    """Plain data that ``module`` has as attributes (num_features, feature_info, pretrained_cfg, ...), for ``layer``."""
    for key, value in vars(module).items():
        if not key.startswith("_") and not hasattr(layer, key) and (key == "feature_info" or _is_data(value)):
            setattr(layer, key, value)


def _is_data(value):
    if isinstance(value, dict):
        return all(map(_is_data, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_data, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _pretrained_cfg(module):
    """timm's dict of what weights want, where ``module`` has one with mean and std; else None."""
    cfg = getattr(module, "pretrained_cfg", None)
    cfg = cfg if isinstance(cfg, dict) else None
    return cfg if cfg and cfg.get("mean") and cfg.get("std") else None


def sizes_of(modules):
    """Image sides to try: those that the modules are made for, then SIZES, the most likely ones first."""
    made_for, likely = [], []
    for module in modules:
        sides = [getattr(each, "img_size", None) for each in module.modules()]
        made_for += [side if isinstance(side, int) else max(side) for side in sides if side]
        likely += (_pretrained_cfg(module) or {}).get("input_size", ())[1:2]
    return tuple(dict.fromkeys([*made_for, SIZES[0], *likely, *SIZES]))


# --- a class that is a torch module ----------------------------------------------------------------------------------

def layer_class(cls, reads_batch):
    """A GraphLayer class with the name and the constructor of the torch class ``cls``; see user_class.adapt.

    Args:
        reads_batch: ``cls.forward`` takes PaddleDetection's batch dict, not the image.

    Raises:
        UserError: ``cls`` has no forward of its own; or, when an instance is made, it cannot be followed.
    """
    if cls.forward is _torch_types()[0].forward:
        raise UserError(f"{cls.__name__} has no forward")

    def forward(self, x):
        return cls.forward(self, {"image": x} if reads_batch else x)

    def __init__(self, *args, **kwargs):
        with _name_means(cls, made):
            module = cls(*args, **kwargs)
            in_chans = getattr(module, "in_chans", 3)
            graph, size = _first_traced(module, in_chans, forward)
        GraphLayer.__init__(self, graph, graph.outputs["output"])
        fill(self, module, cls.__name__)
        self.dry_run_sizes = tuple(dict.fromkeys([size, *sizes_of([module])]))
        for key in ("out_shape", "in_chans"):
            if hasattr(module, key):
                self.__dict__[key] = getattr(module, key)
        cfg = _pretrained_cfg(module)
        if cfg:
            self.pretrained_cfg = types.SimpleNamespace(**cfg)

    __init__.__signature__ = inspect.signature(cls.__init__)
    __init__.__doc__ = cls.__init__.__doc__
    static = {key: inspect.getattr_static(cls, key) for key in CLASS_SETTINGS if hasattr(cls, key)}
    made = type(cls.__name__, (GraphLayer,), {"__init__": __init__, "__module__": cls.__module__, "__doc__": cls.__doc__,
                                              "__qualname__": cls.__qualname__, **static})
    return made


def _first_traced(module, in_chans, forward):
    errors = []
    for size in sizes_of([module]):
        try:
            return traced(module, (2, in_chans, size, size), type(module).__name__, forward), size
        except UserError as error:
            errors.append(error)
            if is_hopeless(error):
                break
    raise most_telling(errors)


def is_hopeless(error):
    """Whether no other image size would help."""
    return any(words in str(error) for words in HOPELESS)


def most_telling(errors):
    """The error that no image size mends, else the first one's."""
    return next(filter(is_hopeless, errors), errors[0])


@contextlib.contextmanager
def _name_means(cls, made):
    """Inside, the class's own name is ``cls`` again for its methods: they may say ``super(Net, self).__init__()``."""
    changed = []
    for function in filter(inspect.isfunction, vars(cls).values()):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
            if name == cls.__name__ and cell.cell_contents is made:
                cell.cell_contents = cls
                changed.append(lambda cell=cell: setattr(cell, "cell_contents", made))
        if function.__globals__.get(cls.__name__) is made:
            function.__globals__[cls.__name__] = cls
            changed.append(lambda names=function.__globals__: names.update({cls.__name__: made}))
    try:
        yield
    finally:
        for restore in changed:
            restore()
