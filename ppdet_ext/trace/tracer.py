# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The tracer: run a torch module once, without weights, and write down what it did.

A ``torch.fx.Tracer`` whose proxies carry values. Arithmetic on a proxy and calls with one are recorded and computed, so
sizes stay expressions; ``if``, ``int()``, ``len()`` and iteration take the value and record what it was as a guard.
Imports torch: only ``trace`` imports this file, when something is to be traced.
"""
import builtins
import contextlib
import importlib
import math
import operator
import sys
from pathlib import Path

import torch
from torch import fx
from torch.overrides import TorchFunctionMode

from ..errors import Unsupported, UserError
from ..graph.ops import OPS
from ..graph.ops._leaf_args import is_leaf, read_leaf
from . import aliases
from .initializers import IN_PLACE, Starts

OPERATOR_SIGNS = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
                  "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
STALE = ("a tensor is used that was changed in place through another one that shares its memory, which a traced "
         "network cannot follow; change it by name, or a copy")


class NeedsValues(Exception):
    """A constant of the network was not computed, because the network was made without values."""


class Weightless(TorchFunctionMode):
    """Inside, tensors that are made to be filled with weights have no storage; ``starts`` notes what they begin with.

    Those that count something have, and small ones, which may be constants that are filled later.
    """

    MADE_TO_BE_FILLED = (torch.empty, torch.empty_like, torch.empty_strided, torch.randn, torch.rand)
    SMALL = 1 << 16

    def __init__(self):
        super().__init__()
        self.starts = Starts()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        result = self._made(function, args, kwargs)
        self.starts.see(function, args, kwargs, result)
        return result

    def _made(self, function, args, kwargs):
        name = getattr(function, "__name__", "")
        if name in IN_PLACE and args and isinstance(args[0], torch.Tensor) and args[0].is_meta:
            return args[0]  # torch would look long at what has no values
        if function in self.MADE_TO_BE_FILLED and kwargs.get("device") is None:
            dtype = kwargs.get("dtype") or (args[0].dtype if isinstance(args[0], torch.Tensor) else torch.float32)
            if dtype.is_floating_point:
                planned = function(*args, **{**kwargs, "device": "meta"})
                if planned.numel() > self.SMALL:
                    return planned
        return function(*args, **kwargs)


def forget_weights(module):
    """Parameters and saved buffers lose their storage; constants keep it. Gives the module."""
    saved, seen = set(module.state_dict(keep_vars=True)), {}
    for path, part in module.named_modules():
        for tensors in (part._parameters, part._buffers):
            for name, value in tensors.items():
                counted = value is None or not value.is_floating_point()  # an index is what it counts
                if not counted and not value.is_meta and f"{path}.{name}".lstrip(".") in saved:
                    tensors[name] = seen.setdefault(id(value), _bare(value))
    return module


def _bare(value):
    bare = value.detach().to("meta")
    return torch.nn.Parameter(bare, value.requires_grad) if isinstance(value, torch.nn.Parameter) else bare


def guard(condition, expected, words, branch):
    """Stands in the fx graph for: the graph holds only if ``condition`` is ``expected``."""


def training_mode():
    """Stands in the fx graph for ``self.training``."""


# timm calls it in training alone, to change values at random; the graph always does, and says which mode it is
AUGMENTATION = "timm.layers.pos_embed_sincos._apply_coord_augs"


class Value(fx.Proxy, aliases.Alias):
    """A proxy with the value that the traced run has at this place."""

    def __init__(self, node, tracer, value=None):
        super().__init__(node, tracer)
        self.value = value

    def decide(self, convert):
        """``convert(value)``, as a branch or a loop count needs it; recorded as a guard."""
        if isinstance(self.value, torch.Tensor) and self.value.is_meta:
            raise self.tracer.error("data-dependent control flow: a tensor's content decides what to compute, which a "
                                    "traced network cannot follow", Unsupported)
        known = convert(self.value)
        self.tracer.add_guard(self, known)
        return known

    def __bool__(self):
        return self.decide(bool)

    def __int__(self):
        return self.decide(int)

    def __float__(self):
        return self.decide(float)

    def __index__(self):
        return self.decide(operator.index)

    def __len__(self):
        count = len(self.value)
        if isinstance(self.value, torch.Tensor):
            return self.shape[0].decide(int)
        return count

    def __iter__(self):
        return iter([self[index] for index in range(len(self))])

    def __contains__(self, item):
        return item in self.value

    def __hash__(self):
        return id(self)

    def __reversed__(self):
        return iter(list(self)[::-1])

    def __ceil__(self):
        return self.tracer.create_proxy("call_function", math.ceil, (self,), {})

    def __floor__(self):
        return self.tracer.create_proxy("call_function", math.floor, (self,), {})

    def __round__(self, digits=None):
        return self.tracer.create_proxy("call_function", builtins.round, (self,), {})

    def __setitem__(self, index, value):
        self.tracer.in_place(operator.setitem, self, (index, value))

    def __iadd__(self, other):
        return self._augmented(operator.iadd, operator.add, other)

    def __isub__(self, other):
        return self._augmented(operator.isub, operator.sub, other)

    def __imul__(self, other):
        return self._augmented(operator.imul, operator.mul, other)

    def __itruediv__(self, other):
        return self._augmented(operator.itruediv, operator.truediv, other)

    def _augmented(self, in_place, plain, other):
        """x += y changes the tensor that x names; a size is merely computed anew."""
        if isinstance(self.value, torch.Tensor):
            return self.tracer.in_place(in_place, self, (other,))
        return plain(self, other)

    def __getattr__(self, name):
        return Attribute(self, name)

    def dim(self):
        return self.value.dim()

    ndimension = dim

    @property
    def ndim(self):
        return self.value.ndim

    @property
    def dtype(self):
        return self.value.dtype

    @property
    def device(self):
        return torch.device("cpu")  # where tensors made beside it have values

    @property
    def requires_grad(self):
        return False

    @property
    def is_cuda(self):
        return False

    def is_floating_point(self):
        return self.value.is_floating_point()

    def is_contiguous(self, **_settings):
        return True


class Attribute(Value):
    """``x.name``: a node only once it is used as a value; a call makes it a method call."""

    def __init__(self, owner, name):
        self.owner = owner
        self.attr = name
        self.tracer = owner.tracer
        self._node = None

    @property
    def value(self):
        return getattr(self.owner.value, self.attr)

    @property
    def node(self):
        if self._node is None:
            self._node = self.tracer.create_proxy("call_function", builtins.getattr, (self.owner, self.attr), {}).node
        return self._node

    def __call__(self, *args, **kwargs):
        return self.tracer.create_proxy("call_method", self.attr, (self.owner, *args), kwargs)


class Mode:
    """Stands for ``self.training`` of a module looked into: an argument stays an expression, a branch is noted."""

    def __init__(self, tracer, module):
        self.tracer, self.module = tracer, module

    def __bool__(self):
        if getattr(self.module, "aug_active", False):  # it leads to AUGMENTATION, which looks at the mode itself
            return True
        self.tracer.mode_branches.add(type(self.module).__name__)
        return self.tracer.training

    def __fx_create_arg__(self, tracer):
        return tracer.create_node("call_function", training_mode, (), {})


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

    def __init__(self, example, training=False):
        super().__init__(autowrap_modules=(math,), autowrap_functions=tuple(_whole_functions()))
        self.example = example
        self.training = training
        self.mode_branches = set()
        self.module_outputs = {}
        self._computing = False
        self._results = {}  # of calls made before: shape and dtype
        self._stale = []  # values that were changed through others

    def trace(self, root, *args, **kwargs):
        kinds = {kind for module in root.modules() for kind in type(module).__mro__}
        self._autowrap_search += [sys.modules[name] for name in sorted({kind.__module__ for kind in kinds})]
        with _modes_watched(self, root), _everything_open(), _creation_watched(self), torch.no_grad():
            return super().trace(root, *args, **kwargs)

    def is_leaf_module(self, module, path):
        own = type(module).__module__.startswith("torch.") and not isinstance(module, _CONTAINERS)
        return own or is_leaf(module)

    def proxy(self, node):
        return Value(node, self)

    def create_arg(self, a):
        return super().create_arg(tuple(a) if isinstance(a, torch.Size) else a)

    def create_node(self, kind, target, args, kwargs, *more, **settings):
        node = super().create_node(kind, target, args, kwargs, *more, **settings)
        if kind == "output" and set(node.all_input_nodes) & {value.node for value in self._stale}:
            raise self.error(STALE)
        return node

    def create_proxy(self, kind, target, args, kwargs, name=None, type_expr=None, proxy_factory_fn=None):
        if kind == "call_function" and target is torch._assert:
            return self.add_assertion(*args, **kwargs)
        if kind == "call_function" and kwargs.get("inplace") is True:
            return self.in_place(target, args[0], args[1:], {**kwargs, "inplace": False})
        if kind == "call_method" and _works_in_place(target) and isinstance(args[0], Value):
            return self.in_place(target, args[0], args[1:], kwargs)
        if kind == "call_function" and op_name(kind, target, None) == AUGMENTATION:
            kwargs = {**kwargs, "training": Mode(self, self.root)}
        proxy = self._recorded(kind, target, args, kwargs, name)
        if kind == "call_module" and getattr(self.root.get_submodule(target), "inplace", False) is True:
            self._replace(args[0], proxy, proxy.value)
        return proxy

    def _recorded(self, kind, target, args, kwargs, name=None):
        self._check_known(kind, target)
        self._check_fresh(kind, target, (args, kwargs))
        proxy = super().create_proxy(kind, target, args, kwargs, name)
        with self._computation():
            proxy.value = self._compute(kind, target, args, kwargs)
        module = self.root.get_submodule(target) if kind == "call_module" else None
        parent, index = aliases.parent_of(kind, target, args, module)
        if parent is not None:
            proxy.look_into(parent, index)
        if isinstance(proxy.value, torch.Tensor):
            proxy.node.meta["shape"] = tuple(proxy.value.shape)
        if kind == "get_attr":
            proxy.node.meta["held"] = proxy.value  # some modules exchange what they hold
        return proxy

    def in_place(self, target, changed, args, kwargs=None):
        """Record a call that changes ``changed``, which from here on means the result."""
        kind = "call_method" if isinstance(target, str) else "call_function"
        proxy = self._recorded(kind, target, (changed, *args), kwargs or {})
        self._replace(changed, proxy, changed.value if proxy.value is None else proxy.value)
        return changed

    def _replace(self, changed, proxy, value):
        """From here on ``changed`` means the result, and so do the values that share its memory."""
        changed.node, changed.value = proxy.node, value
        self._stale += aliases.changed(changed, self._write_back)

    def _write_back(self, whole, index, part):
        whole.node = self._recorded("call_function", operator.setitem, (whole, index, part), {}).node

    def add_guard(self, proxy, known):
        words = _words(proxy.node) if isinstance(proxy.value, bool) else f"{_words(proxy.node)} == {known!r}"
        words = words if known is not False else f"not {words}"
        self.create_node("call_function", guard, (proxy.node, known, words, True), {})

    def add_assertion(self, condition, message=""):
        if not isinstance(condition, Value):
            if not condition:
                raise self.error(f"the network refuses: {message}")
            return
        if isinstance(condition.value, torch.Tensor) and condition.value.is_meta:
            return
        if not condition.value:
            raise self.error(f"the network refuses: {_words(condition.node)} ({message})")
        self.create_node("call_function", guard, (condition.node, True, _words(condition.node), False), {})

    def error(self, what, kind=UserError):
        """UserError that says where in the network and in which line of whose file it happened."""
        return kind(f"{what} (in {_place(self.scope.module_path, self.root)}, {_source_line()})")

    def call_module(self, m, forward, args, kwargs):
        if self._computing:
            return forward(*args, **kwargs)
        try:
            path = self.path_of_module(m)
        except NameError:  # made on the way, such as a slice of a Sequential: its parts have paths
            return forward(*args, **kwargs)
        output = super().call_module(m, forward, args, kwargs)
        if isinstance(output, Value) and isinstance(output.value, torch.Tensor):
            self.module_outputs.pop(path, None)  # in the order of their end
            self.module_outputs[path] = (output.node.name, tuple(output.value.shape))
        return output

    def getattr(self, attr, attr_val, parameter_proxy_cache):
        if self._computing or isinstance(attr_val, Value):  # some modules keep what they computed
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def iter(self, obj):
        return obj.__iter__()

    def keys(self, obj):
        return obj.value.keys()

    def to_bool(self, obj):
        return bool(obj)

    def _check_known(self, kind, target):
        if kind == "call_module":
            module = self.root.get_submodule(target)
            if not is_leaf(module):
                kind = type(module).__name__
                raise self.error(f"layer '{target}' is a {kind}, which has no Paddle twin yet; add one with "
                                 f"@leaf('{kind}', ...) from ppdet_ext.graph.ops", Unsupported)
        elif kind in ("call_function", "call_method"):
            name = op_name(kind, target, None)
            if name not in OPS and target not in (guard, training_mode, builtins.getattr):
                raise self.error(f"the operation {name} is not in the table; add it with @op('{name}') from "
                                 "ppdet_ext.graph.ops", Unsupported)

    def _check_fresh(self, kind, target, arguments):
        found = []
        fx.node.map_aggregate(arguments, lambda item: found.append(isinstance(item, Value) and item.stale))
        if any(found) and aliases.reads_memory(kind, target):
            raise self.error(STALE)

    @contextlib.contextmanager
    def _computation(self):
        before, self._computing = self._computing, True
        try:
            yield
        finally:
            self._computing = before

    def _compute(self, kind, target, args, kwargs):
        if kind == "placeholder":
            return self.example
        if kind == "get_attr":
            return _attribute(self.root, target)
        args, kwargs = _on_one_device(_values(args), _values(kwargs))
        key = self._key(kind, target, args, kwargs)
        if key not in self._results:
            result = self._run(kind, target, args, kwargs)
            if key is None or not isinstance(result, torch.Tensor) or not result.is_meta:
                return result
            self._results[key] = tuple(result.shape), result.dtype
        shape, dtype = self._results[key]
        return torch.empty(shape, dtype=dtype, device="meta")

    def _key(self, kind, target, args, kwargs):
        """What the result's shape and dtype follow from, so that equal blocks are computed once; None: too much."""
        try:
            if kind == "call_module":
                module = self.root.get_submodule(target)
                held = [tuple(value.shape) for value in module.state_dict().values()]
                target = repr((read_leaf(module), held))
            return kind, target, _signature(args), _signature(kwargs)
        except (LookupError, UserError):
            return None

    def _run(self, kind, target, args, kwargs):
        try:
            if kind == "call_function" and op_name(kind, target, None) == AUGMENTATION:
                return args[0]
            if kind == "call_module":
                return _run_leaf(self.root.get_submodule(target), args, kwargs)
            return getattr(args[0], target)(*args[1:], **kwargs) if kind == "call_method" else target(*args, **kwargs)
        except NeedsValues:
            raise
        except Exception as error:
            raise self.error(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


_CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict, torch.nn.ParameterList,
               torch.nn.ParameterDict)


def op_name(kind, target, attribute):
    """The name of a call in the table of ops: '.view', 'getattr.shape', 'torch.cat', '_operator.add'."""
    if kind == "call_method":
        return f".{target}"
    if target is builtins.getattr:
        return f"getattr.{attribute}"
    return f"{getattr(target, '__module__', None) or 'builtins'}.{getattr(target, '__name__', target)}"


def _whole_functions():
    """Functions of timm and torchvision that the table has: recorded as one call, not looked into."""
    for name in OPS:
        package, _, function = name.rpartition(".")
        if package.partition(".")[0] in ("timm", "torchvision"):
            with contextlib.suppress(ImportError, AttributeError):
                yield getattr(importlib.import_module(package), function)


def _works_in_place(method):
    return method.endswith("_") and not method.endswith("__")


def _attribute(root, path):
    for name in path.split("."):
        root = getattr(root, name)
    return root


def _values(arguments):
    """The values that proxies inside nested arguments carry."""
    if isinstance(arguments, Value):
        return arguments.value
    if isinstance(arguments, Mode):
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


def _signature(value):
    """Arguments as a key: of tensors their shapes and dtypes.

    Raises:
        LookupError: a tensor has values, or an argument is of a kind that is not known here.
    """
    if isinstance(value, torch.Tensor) and value.is_meta:
        return torch.Tensor, tuple(value.shape), value.dtype
    if isinstance(value, (tuple, list)):
        return type(value), *map(_signature, value)
    if isinstance(value, dict):
        return tuple((name, _signature(item)) for name, item in value.items())
    if isinstance(value, slice):
        return slice, *map(_signature, (value.start, value.stop, value.step))
    if value is None or isinstance(value, (bool, int, float, str, torch.dtype, torch.device, type(Ellipsis))):
        return type(value), value  # 1, 1.0 and True are equal, and not the same
    raise LookupError


def _on_one_device(args, kwargs):
    """Constants have values and activations have none: together, nothing has."""
    tensors = []
    torch.utils._pytree.tree_map_only(torch.Tensor, tensors.append, (args, kwargs))
    if any(tensor.is_meta for tensor in tensors) and not all(tensor.is_meta for tensor in tensors):
        return torch.utils._pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
    return args, kwargs


def _run_leaf(module, args, kwargs):
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    if tensors:
        args, kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
    if all(tensor.is_meta for tensor in tensors.values()):
        return module.forward(*args, **kwargs)
    return torch.func.functional_call(module, {key: value.to("meta") for key, value in tensors.items()}, args, kwargs)


@contextlib.contextmanager
def _modes_watched(tracer, root):
    """``training`` of every module that is looked into becomes a Mode."""
    modules = [module for path, module in root.named_modules() if not tracer.is_leaf_module(module, path)]
    before = [module.training for module in modules]
    leaves = [module for path, module in root.named_modules() if tracer.is_leaf_module(module, path)]
    modes = [module.training for module in leaves]
    for module in modules:
        module.__dict__["training"] = Mode(tracer, module)
    for module in leaves:
        module.__dict__["training"] = tracer.training
    try:
        yield
    finally:
        for module, mode in zip(modules + leaves, before + modes):
            module.__dict__["training"] = mode


@contextlib.contextmanager
def _creation_watched(tracer):
    """torch.ones(b, n) and the like look at their sizes before they ask a proxy; inside, proxies are asked first."""
    kept = {name: getattr(torch, name) for name in ("ones", "zeros", "full", "empty", "eye")}

    def watched(function):
        def create(*args, **kwargs):
            found = []
            fx.node.map_aggregate((args, kwargs), lambda item: found.append(item) if isinstance(item, Value) else None)
            if found and not tracer._computing:
                return tracer.create_proxy("call_function", function, args, kwargs)
            return function(*args, **kwargs)
        return create
    for name, function in kept.items():
        setattr(torch, name, watched(function))
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(torch, name, function)


@contextlib.contextmanager
def _everything_open():
    """Functions that a package marked with torch.fx.wrap are looked into all the same, but for those in the table."""
    wrapped = fx._symbolic_trace._wrapped_fns_to_patch
    kept = dict(wrapped)
    wrapped.clear()
    wrapped.update({key: names for key, names in kept.items() if f"{names.get('__name__')}.{key[1]}" in OPS})
    try:
        yield
    finally:
        wrapped.clear()
        wrapped.update(kept)


def _words(node, depth=0):
    """A node as an expression in Python's own signs."""
    if not isinstance(node, fx.Node):
        return repr(node)
    if node.op == "placeholder":
        return "image"
    name = getattr(node.target, "__name__", str(node.target).rpartition(".")[2])
    if depth > 8 or node.op in ("call_module", "get_attr"):
        return name + "(...)" * (node.op != "get_attr")
    parts = [_words(argument, depth + 1) for argument in node.args]
    if node.target is builtins.getattr:
        return f"{parts[0]}.{node.args[1]}"
    if node.target is operator.getitem:
        return f"{parts[0]}[{parts[1]}]"
    if name in OPERATOR_SIGNS and len(parts) == 2:
        text = f"{parts[0]} {OPERATOR_SIGNS[name]} {parts[1]}"
        return text if depth == 0 else f"({text})"
    return f"{parts[0]}.{node.target}()" if node.op == "call_method" else f"{name}({', '.join(parts)})"


def _place(path, root):
    return f"module '{path}'" if path else type(root).__name__


def _source_line(skipped=(str(Path(__file__).parent), str(Path(torch.__file__).parent))):
    """'file.py:123' of the innermost frame that is neither torch's nor ours."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith((*skipped, "<")):
        frame = frame.f_back
    return f"{'/'.join(Path(frame.f_code.co_filename).parts[-2:])}:{frame.f_lineno}" if frame else "unknown line"
