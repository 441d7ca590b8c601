# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From a torch module to a Paddle layer with its weights, and from a torch module's class to a Paddle class."""
from __future__ import annotations

import contextlib
import inspect
import sys
import types

from ppdet.utils.logger import setup_logger

from ..errors import UserError
from ..graph.layer import GraphLayer
from ..graph.ops._leaf_args import build_leaf, is_leaf, read_leaf
from ..trace import from_torch
from ..weights.layout_rules import to_paddle
from ..weights.load_report import load_into

logger = setup_logger("ppdet_ext")

# Tried in this order. A trace on small images may hold for small ones only (windows larger than the map).
SIZES = (256, 384, 512, 640, 224, 448, 128, 64)
SECOND = 128  # a size to compare with: cheap, and a multiple of most strides
# what another image size would not mend: these words stand in the tracer's messages
HOPELESS = ("ppdet_ext.graph.ops", "data-dependent", "derive ", "hook")
# of a torch class, what PaddleDetection reads off a class
CLASS_SETTINGS = ("__shared__", "__inject__", "__category__", "from_config", "in_chans", "pretrained_cfg")


def is_module_class(cls):
    """Whether ``cls`` is a torch module's class (torch is looked at only if something imported it)."""
    return issubclass(cls, torch_types()[0])


def torch_types():
    """(Module, Tensor) of torch, or two empty tuples where nothing imported it."""
    torch = sys.modules.get("torch")
    return (torch.nn.Module, torch.Tensor) if torch else ((), ())


def layer_of(module, shape, where):
    """The Paddle layer of a torch module that is given a tensor of ``shape``, with its weights, in evaluation mode.

    Raises:
        UserError: it cannot be followed; the line says where and why.
    """
    refuse_hooks(module, where)
    if is_leaf(module):
        layer = build_leaf(read_leaf(module))
    else:
        graph = traced(module, shape, where)
        layer = GraphLayer(graph, graph.outputs["output"])
    fill(layer, module, where)
    layer.eval()
    return layer


def refuse_hooks(module, where):
    """UserError for hooks that a trace would not see: on the module itself, and on those it does not look into."""
    for path, each in module.named_modules():
        if (each is module or is_leaf(each)) and (each._forward_hooks or each._forward_pre_hooks):
            raise UserError(f"{'.'.join(filter(None, [where, path]))} ({type(each).__name__}) has a forward hook, "
                            "which its Paddle layer would not run; do in a forward what the hook does, or remove it")


def traced(module, shape, where, forward=None):
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


def fill(layer, module, where):
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


def weights_cfg(modules):
    """What the one network inside ``modules`` that says it says of its weights (mean, std, ...); None otherwise."""
    found = [cfg for module in modules for cfg in map(_pretrained_cfg, module.modules()) if cfg]
    different = {(tuple(cfg["mean"]), tuple(cfg["std"])) for cfg in found}  # timm's wrappers repeat what they hold
    return types.SimpleNamespace(**found[0]) if len(different) == 1 else None


def sizes_of(modules):
    """Image sides to try: those that the modules are made for, then SIZES, the most likely ones first."""
    made_for, likely = [], []
    for module in modules:
        sides = [getattr(each, "img_size", None) for each in module.modules()]
        made_for += [side if isinstance(side, int) else max(side) for side in sides if side]
        likely += (_pretrained_cfg(module) or {}).get("input_size", ())[1:2]
    return unique([*made_for, SIZES[0], *likely, *SIZES])


def unique(sizes):
    return tuple(dict.fromkeys(sizes))


def layer_class(cls, reads_batch):
    """A GraphLayer class with the name and the constructor of the torch class ``cls``; see user_class.adapt.

    Args:
        reads_batch: ``cls.forward`` takes PaddleDetection's batch dict, not the image.

    Raises:
        UserError: ``cls`` has no forward of its own; or, when an instance is made, it cannot be followed.
    """
    if cls.forward is torch_types()[0].forward:
        raise UserError(f"{cls.__name__} has no forward")

    def forward(self, x):
        return cls.forward(self, {"image": x} if reads_batch else x)

    def module_weights_cfg(**settings):
        with _name_means(cls, made):
            return weights_cfg([cls(**settings)])

    def __init__(self, *args, **kwargs):
        with _name_means(cls, made):
            module = cls(*args, **kwargs)
            refuse_hooks(module, cls.__name__)
            graph, size = _first_traced(module, getattr(module, "in_chans", 3), forward)
        GraphLayer.__init__(self, graph, graph.outputs["output"])
        self.dry_run_sizes = unique([size, SECOND, *sizes_of([module])])
        for key in ("out_shape", "in_chans"):
            if hasattr(module, key):
                self.__dict__[key] = getattr(module, key)
        fill(self, module, cls.__name__)
        if not hasattr(type(self), "pretrained_cfg"):
            self.pretrained_cfg = weights_cfg([module])

    __init__.__signature__ = inspect.signature(cls.__init__)
    __init__.__doc__ = cls.__init__.__doc__
    namespace = {key: inspect.getattr_static(cls, key) for key in CLASS_SETTINGS if hasattr(cls, key)}
    namespace.update(__init__=__init__, __module__=cls.__module__, __qualname__=cls.__qualname__, __doc__=cls.__doc__,
                     module_weights_cfg=staticmethod(module_weights_cfg))
    made = type(cls.__name__, (GraphLayer,), namespace)  # the constructor's ``made``
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
