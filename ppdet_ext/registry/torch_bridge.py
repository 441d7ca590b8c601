# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The bridge: a torch module becomes a Paddle layer with its weights, a torch module's class a Paddle class."""
from __future__ import annotations

import contextlib
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from paddle import nn
from ppdet.utils.logger import setup_logger

from ..errors import Unsupported, UserError
from ..graph.graph import Graph
from ..graph.layer import GraphLayer
from ..graph.ops._leaf_args import build_leaf, is_leaf, read_leaf
from ..trace import from_torch
from ..weights.layout_rules import to_paddle
from ..weights.load_report import load_into
from .forward_input import takes_batch

logger = setup_logger("ppdet_ext")

# Tried in this order. A trace on small images may hold for small ones only (windows larger than the map).
SIZES = (256, 384, 512, 640, 224, 448, 128, 64)
SECOND_SIZE = 128  # a size to compare with: cheap, and a multiple of most strides
# of a torch class, what PaddleDetection reads off a class
CLASS_SETTINGS = ("__shared__", "__inject__", "__category__", "from_config", "in_chans", "adapter",
                  "pretrained_cfg")


def is_module_class(cls: type) -> bool:
    """Whether ``cls`` is a torch module's class (torch is looked at only if something imported it)."""
    return issubclass(cls, torch_types()[0])


def torch_types() -> tuple[Any, Any]:
    """(Module, Tensor) of torch, or two empty tuples where nothing imported it."""
    torch = sys.modules.get("torch")
    return (torch.nn.Module, torch.Tensor) if torch else ((), ())


def layer_of(module: Any, shape: Sequence[int], where: str) -> nn.Layer:
    """The Paddle layer of a torch module that is given a tensor of ``shape``, with its weights, in evaluation mode.

    Raises:
        UserError: it cannot be followed; the line says where and why.
    """
    refuse_hooks(module, where)
    if is_leaf(module):
        layer = build_leaf(read_leaf(module))
    else:
        graph = trace_forward(module, shape, where)
        layer = GraphLayer(graph, graph.outputs["output"])
    copy_state(module, layer, where)
    layer.eval()
    return layer


def refuse_hooks(module: Any, where: str) -> None:
    """Unsupported for hooks that a trace would not see: on the module itself, and on those it does not look into."""
    for path, each in module.named_modules():
        if (each is module or is_leaf(each)) and (each._forward_hooks or each._forward_pre_hooks):
            raise Unsupported(f"{'.'.join(filter(None, [where, path]))} ({type(each).__name__}) has a forward hook, "
                              "which its Paddle layer would not run; do in a forward what the hook does, or remove it")


def trace_forward(module: Any, shape: Sequence[int], where: str, forward: Callable[..., Any] | None = None) -> Graph:
    """Graph of what ``forward`` (a function of module and tensor) gives, under the output 'output'.

    The batch is two, whatever it is in ``shape``: a size of one means more than itself to some operations.
    """
    run = forward or type(module).forward

    def one_tensor(self, x):  # the defaults of other parameters hold
        return {"output": run(self, x)}

    from ..trace.trace_module import running
    with running(module, one_tensor):
        graph = from_torch.trace_module(module, (2, *shape[1:]), where)
    different = graph.info.get("training_differs")
    if different:
        logger.warning("%s: %s computes something else in training ('if self.training'); bridged, it does what it does "
                       "in evaluation always", where, ", ".join(different))
    return graph


def copy_state(module: Any, layer: nn.Layer, where: str) -> None:
    """Give ``layer`` the weights of ``module``, its frozen and its tied parameters, and its plain attributes."""
    tensors = to_paddle({name: _array(value, f"{where}.{name}") for name, value in module.state_dict().items()}, layer)
    own = layer.state_dict()
    unused = tuple(name for name in tensors if name not in own)
    report = load_into(layer, tensors, unused=unused, label=where, source="the torch module")
    logger.info("%s is bridged from torch's %s: %s", where, type(module).__name__, report.counts())
    _tie(layer, module, where)
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad and name in own:
            own[name].stop_gradient = True
    copy_attributes(module, layer)


def _array(tensor: Any, where: str) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if tensor.is_meta:
        raise UserError(f"{where} has no value (torch's meta device); build the module with weights")
    if tensor.is_quantized:
        raise UserError(f"{where} is quantised; give the module in floating point")
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def _tie(layer: nn.Layer, module: Any, where: str) -> None:
    """What is one parameter under two names in ``module`` is one in ``layer``."""
    first: dict[int, Any] = {}
    for path, parameter in module.named_parameters(remove_duplicate=False):
        *parents, name = path.split(".")
        owner: nn.Layer | None = layer
        for parent in parents:
            owner = owner._sub_layers.get(parent) if owner is not None else None
        if owner is None or name not in owner._parameters:
            continue
        kept = first.setdefault(id(parameter), owner._parameters[name])
        if kept.shape != owner._parameters[name].shape:
            raise UserError(f"{where}: '{path}' is shared with a layer that Paddle keeps in another layout; untie them")
        owner._parameters[name] = kept


def copy_attributes(module: Any, layer: nn.Layer) -> None:
    """Give ``layer`` the plain data among the attributes of ``module`` (num_features, pretrained_cfg, ...)."""
    for key, value in vars(module).items():
        if not key.startswith("_") and not hasattr(layer, key) and (key == "feature_info" or _is_data(value)):
            setattr(layer, key, value)


def _is_data(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_data, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_data, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _own_pretrained_cfg(module: Any) -> dict[str, Any] | None:
    """timm's dict of what weights want, where ``module`` has one with mean and std; else None."""
    cfg = getattr(module, "pretrained_cfg", None)
    cfg = cfg if isinstance(cfg, dict) else None
    return cfg if cfg and cfg.get("mean") and cfg.get("std") else None


def pretrained_cfg_of(modules: Iterable[Any]) -> types.SimpleNamespace | None:
    """timm's pretrained_cfg (mean, std, ...) of the one network inside ``modules`` that has one; None otherwise."""
    found = [cfg for module in modules for cfg in map(_own_pretrained_cfg, module.modules()) if cfg]
    different = {(tuple(cfg["mean"]), tuple(cfg["std"])) for cfg in found}  # timm's wrappers repeat what they hold
    return types.SimpleNamespace(**found[0]) if len(different) == 1 else None


def candidate_sizes(modules: Iterable[Any]) -> tuple[int, ...]:
    """Image sides to try: those that the modules are made for, then SIZES, the most likely ones first."""
    made_for: list[int] = []
    likely: list[int] = []
    for module in modules:
        sides = [getattr(each, "img_size", None) for each in module.modules()]
        made_for += [side if isinstance(side, int) else max(side) for side in sides if side]
        likely += (_own_pretrained_cfg(module) or {}).get("input_size", ())[1:2]
    return unique([*made_for, SIZES[0], *likely, *SIZES])


def unique(sizes: Iterable[int]) -> tuple[int, ...]:
    """Each size once, where it comes first."""
    return tuple(dict.fromkeys(sizes))


def layer_class(cls: type[Any]) -> type[GraphLayer]:
    """A GraphLayer class with the name and the constructor of the torch class ``cls``; see user_class.adapt.

    Raises:
        UserError: ``cls`` has no forward of its own; or, when an instance is made, it cannot be followed.
    """
    if cls.forward is torch_types()[0].forward:
        raise UserError(f"{cls.__name__} has no forward")

    def forward_of_batch(self: Any, x: Any) -> Any:
        return cls.forward(self, {"image": x})

    def torch_module(**settings: Any) -> Any:
        with _name_means(cls, made):
            return cls(**settings)

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        with _name_means(cls, made):
            module = cls(*args, **kwargs)
            refuse_hooks(module, cls.__name__)
            forward = forward_of_batch if takes_batch(module) else None
            graph, size = _first_traced(module, getattr(module, "in_chans", 3), forward)
        GraphLayer.__init__(self, graph, graph.outputs["output"])
        self.takes_batch = False  # its forward is the graph's
        self.dry_run_sizes = unique([size, SECOND_SIZE, *candidate_sizes([module])])
        for key in ("out_shape", "in_chans"):
            if hasattr(module, key):
                self.__dict__[key] = getattr(module, key)
        if isinstance(getattr(module, "adapter", None), str):
            self.__dict__["adapter"] = module.adapter
        copy_state(module, self, cls.__name__)
        if not hasattr(type(self), "pretrained_cfg"):
            self.pretrained_cfg = pretrained_cfg_of([module])

    __init__.__signature__ = inspect.signature(cls.__init__)  # type: ignore[attr-defined,misc]
    __init__.__doc__ = cls.__init__.__doc__  # type: ignore[misc]
    namespace = {key: inspect.getattr_static(cls, key) for key in CLASS_SETTINGS if hasattr(cls, key)}
    namespace.update(__init__=__init__, __module__=cls.__module__, __qualname__=cls.__qualname__, __doc__=cls.__doc__,
                     torch_module=staticmethod(torch_module))
    made = type(cls.__name__, (GraphLayer,), namespace)  # the constructor's ``made``
    return made


def _first_traced(module: Any, in_chans: int, forward: Callable[..., Any] | None) -> tuple[Graph, int]:
    errors: list[UserError] = []
    for size in candidate_sizes([module]):
        try:
            return trace_forward(module, (2, in_chans, size, size), type(module).__name__, forward), size
        except UserError as error:
            errors.append(error)
            if isinstance(error, Unsupported):
                break
    raise most_telling(errors)


def most_telling(errors: Sequence[UserError]) -> UserError:
    """The error that no image size mends, else the first one."""
    return next((error for error in errors if isinstance(error, Unsupported)), errors[0])


@contextlib.contextmanager
def _name_means(cls: type, made: type) -> Iterator[None]:
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
