# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From a torch network to a Graph: timm's by name, torchvision's by name, or any torch module. Needs torch.

The network is made without weights and run once without values, so its size does not matter: see ``tracer``.
"""
from __future__ import annotations

import builtins
import contextlib
import inspect
import sys
import traceback
from functools import partial
from unittest import mock

import numpy as np

from ..errors import UserError, nearest
from ..graph.graph import Graph, Node, Ref
from ..weights.readers import need
from . import initializers

SIZES = (256, 224, 384, 448, 512)  # tried one after the other where a network does not say what it wants
DROP_PATH = 0.5  # stochastic depth that networks are traced with; layer scales it to what is wanted
# what makes timm's networks take images of any size, where their class has such a setting
OPEN_SETTINGS = {"dynamic_img_size": True, "strict_img_size": False}
# files whose networks find the grid of their maps in a tensor's values: they are asked for tokens instead
READS_ITS_GRID = ("timm.models.gemma4_vit",)
STARTS = "_ppdet_ext_starts"  # attribute of a network made without values: how its parameters begin
DROPPED = ("device", "memory_format", "layout", "out", "non_blocking", "pin_memory", "requires_grad", "generator")


def trace_timm(arch, img_size=None, prepare=None):
    """The Graph of a timm network: outputs 'features' (as timm's features_only numbers them, NCHW) and 'logits'.

    Args:
        arch: timm's name without a tag.
        img_size: build for images of this side or (height, width), where the network is made for one size.
        prepare: changes the torch network (and returns it) before it is traced.

    Raises:
        UserError: timm has no such network; it cannot be built or followed (the line says where and why).
    """
    timm = need("torch", f"tracing {arch}") and need("timm", f"tracing {arch}")
    if not timm.is_model(arch):
        raise UserError(f"unknown arch '{arch}'{nearest(arch, timm.list_models())} (timm {timm.__version__} has none)")

    def build(**settings):
        made = timm.create_model(arch, pretrained=False, **settings)
        return prepare(made) if prepare else made

    settings = _timm_settings(build, arch, img_size)
    cfg = timm.models.get_pretrained_cfg(arch)
    opened = bool(set(OPEN_SETTINGS) & set(settings))
    sizes = [_square(img_size)] if img_size else _candidates(cfg.input_size, cfg.fixed_input_size, opened)

    def add_features(graph, tracer):
        _describe_features(graph, tracer, list(getattr(tracer.root, "feature_info", None) or []))

    graph = _first_traceable(arch, partial(weightless, build, settings, arch), _timm_forward, sizes, add_features)
    bound = bool(cfg.fixed_input_size) and not opened
    graph.info.update(settings=settings, library="timm", version=timm.__version__,
                      fixed=bound and not _runs_at_another_size(partial(weightless, build, settings, arch), graph),
                      first_conv=_listed(cfg.first_conv), classifier=_listed(cfg.classifier))
    return graph


def trace_torchvision(arch, img_size=None, prepare=None):
    """The Graph of a torchvision classification network, arch without 'torchvision/'; see ``trace_timm``.

    Features are the last ones at each stride, see ``torchvision_taps``.
    """
    torchvision = need("torch", f"tracing {arch}") and need("torchvision", f"tracing {arch}")
    from . import torchvision_taps
    names = torchvision.models.list_models(module=torchvision.models)
    if arch not in names:
        raise UserError(f"unknown arch 'torchvision/{arch}'{nearest(arch, names)} (torchvision "
                        f"{torchvision.__version__} has no such classification network)")
    setting = torchvision_taps.size_setting(arch)
    settings = {"init_weights": False} if arch in ("googlenet", "inception_v3") else {}
    crop = torchvision.models.get_model_weights(arch).DEFAULT.transforms().crop_size[0]
    if not img_size and setting and crop != torchvision_taps.BUILT_FOR:
        img_size = crop  # as its published weights are
    if img_size:
        settings[_wanted_setting(setting, f"torchvision/{arch}")] = _side(setting, img_size)

    def build(**given):
        made = torchvision.models.get_model(arch, weights=None, **given)
        return prepare(made) if prepare else made

    graph = _first_traceable(f"torchvision/{arch}", partial(weightless, build, settings, arch), None,
                             [_square(img_size)] if img_size else _candidates((3, crop, crop), bool(setting)),
                             partial(torchvision_taps.add_features, arch=arch))
    graph.info.update(settings=settings, library="torchvision", version=torchvision.__version__, fixed=bool(setting),
                      **torchvision_taps.ends(arch))
    return graph


def _runs_at_another_size(build, graph):
    """Whether the network takes an image of another size after all; its guards then say which."""
    from .tracer import NeedsValues
    height, width = graph.info["input_size"][1:]
    try:
        _traced(graph.name, build(), _timm_forward, (2, 3, height * 2, width + height), None, build)
        return True
    except (UserError, NeedsValues):
        return False


def _wanted_setting(setting, name):
    if not setting:
        raise UserError(f"{name} takes no img_size: it works at any size, or at its own only; leave img_size out")
    return setting


def _side(setting, img_size):
    height, width = _square(img_size)
    if setting == "input_size":
        return (height, width)
    if height != width:
        raise UserError(f"img_size [{height}, {width}]: this network takes square images only")
    return height


def trace_module(module, shape, name=""):
    """The Graph of a torch module's own ``forward``; outputs is {'output': what it returns}.

    Args:
        module: torch.nn.Module with or without weights; it is left as it was.
        shape: of the tensor that it is run on, without values.
        name: what messages call it.

    Raises:
        UserError: forward cannot be followed; the line says where and why.
    """
    need("torch", "tracing a torch module")
    return _traced(name or type(module).__name__, module, _of_one_argument(type(module).forward), tuple(shape))


def _of_one_argument(forward):
    """``forward`` without its optional arguments, which torch.fx would take for inputs; None: it has no others."""
    if len(inspect.signature(forward).parameters) <= 2:
        return None

    def of_one_argument(self, x):
        return forward(self, x)
    return of_one_argument


def _timm_settings(build, arch, img_size):
    """What the network's class takes of the settings we want; {} of those it does not know."""
    kind = _class_of(arch) or type(weightless(build, {}, arch))
    signature = {key for base in kind.__mro__  # a subclass may hand its settings on
                 for key in inspect.signature(base.__init__).parameters}
    wanted = {"drop_path_rate": DROP_PATH, **OPEN_SETTINGS}
    settings = {key: value for key, value in wanted.items() if key in signature}
    if img_size:
        settings[_wanted_setting("img_size" if "img_size" in signature else "", arch)] = img_size
    return settings


def _class_of(arch):
    """The class that timm would make the network of, seen before it does; None where it goes about it another way."""
    import timm

    from .tracer import Weightless
    own, found = timm.models.build_model_with_cfg, []

    def stop(kind, variant, *args, **kwargs):
        if variant != arch:  # a network inside it
            return own(kind, variant, *args, **kwargs)
        found.append(kind)
        raise _Stop

    with contextlib.ExitStack() as patches:
        for module in [module for name, module in sys.modules.items() if name.startswith("timm.models.")]:
            if "build_model_with_cfg" in vars(module):
                patches.enter_context(mock.patch.object(module, "build_model_with_cfg", stop))
        with contextlib.suppress(Exception), Weightless():  # what else it raises it will raise when it is built
            timm.models.model_entrypoint(arch)(pretrained=False)
    return found[0] if found and isinstance(found[0], type) else None


class _Stop(Exception):
    """See _class_of."""


def weightless(build, settings, arch, real=False):
    """The network without storage for its weights; with it (``real``) where constants need computing that lacks it."""
    from .tracer import Weightless, forget_weights
    try:
        if real:
            return build(**settings).eval()
        with Weightless() as mode:
            model = build(**settings).eval()
        vars(model)[STARTS] = initializers.of_module(model, mode.starts)
        return forget_weights(model)
    except UserError:
        raise
    except Exception as error:  # whatever a constructor may raise
        if not real:
            return weightless(build, settings, arch, real=True)
        raise UserError(f"{arch} cannot be built with {settings or 'its own settings'}: {type(error).__name__}: "
                        f"{' '.join(str(error).split())[:200]}") from None


def _candidates(input_size, fixed, opened=False):
    """Sizes to try; networks of one size come first with that, which those opened to others can refuse (384 / 14)."""
    own, others = tuple(input_size[1:]), list(map(_square, SIZES))
    if fixed:
        return [own, *others] if opened else [own]
    return list(dict.fromkeys([others[0], own, *others[1:]]))


def _square(size):
    return (size, size) if isinstance(size, int) else tuple(size)


def _first_traceable(name, build, forward, sizes, add_features):
    """The Graph at the first size at which the network runs; the error of its first one where there is none."""
    first, model = None, build()
    for size in sizes:
        try:
            return _traced(name, model, forward, (2, 3, *size), add_features, build)
        except UserError as error:
            first = first or error
    raise first


def _traced(name, model, forward, shape, add_features=None, build=None):
    from .tracer import NeedsValues
    try:
        return _trace_once(name, model, forward, shape, add_features)
    except NeedsValues as error:
        if build is None:
            raise UserError(f"{name} cannot be traced: {error}") from None
        return _trace_once(name, build(real=True), forward, shape, add_features)


def _trace_once(name, model, forward, shape, add_features):
    torch = need("torch", f"tracing {name}")
    from .tracer import Tracer
    tracer = Tracer(torch.empty(shape, device="meta"))
    with _running(model, forward), _attributes_kept(model):
        fx_graph = _follow(tracer, model, name)
        recorded = Converter(model, fx_graph).graph(name)
    with _running(model, forward):
        if tracer.mode_branches:
            recorded.info["training_differs"] = _differs_in_training(model, name, shape, recorded, tracer)
    recorded.info["input_size"] = list(shape[1:])
    if add_features:
        add_features(recorded, tracer)
    return recorded


def _follow(tracer, model, name):
    from .tracer import NeedsValues
    try:
        return tracer.trace(model)
    except UserError as error:
        raise type(error)(f"{name} cannot be traced: {error}") from None
    except RecursionError:
        raise UserError(f"{name} cannot be traced: it calls itself without end") from None
    except NeedsValues:
        raise
    except Exception as error:
        raise UserError(f"{name} cannot be traced: {tracer.error(_one_line(error))}") from error


def _one_line(error):
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/torch/" not in frame.filename]
    place = f" at {'/'.join(frames[-1].filename.split('/')[-2:])}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}{place}"


def _differs_in_training(model, name, shape, recorded, tracer):
    """Classes of modules whose ``if self.training`` leads to another graph; [] where both are the same."""
    torch = need("torch", f"tracing {name}")
    from .tracer import Tracer
    try:
        with _attributes_kept(model):
            fx_graph = Tracer(torch.empty(shape, device="meta"), training=True).trace(model)
            other = Converter(model, fx_graph).graph(name)
        same = [vars(node) for node in other.nodes if node.kind != "guard"] == [
            vars(node) for node in recorded.nodes if node.kind != "guard"]
    except Exception:  # what runs in evaluation only also differs
        same = False
    return [] if same else sorted(tracer.mode_branches)


class _running:
    """While open, ``forward`` (a function of the model and the image) is what the model's class does when it is called.

    A changed class, not a wrapper around the model: module paths stay those of the checkpoint.
    """

    def __init__(self, model, forward):
        self.model, self.forward, self.kind = model, forward, type(model)

    def __enter__(self):
        if self.forward is not None:
            self.model.__class__ = type(self.kind.__name__, (self.kind,), {"forward": self.forward,
                                                                           "__module__": self.kind.__module__})

    def __exit__(self, *_error):
        self.model.__class__ = self.kind


@contextlib.contextmanager
def _attributes_kept(model):
    """torch.fx hangs constants on the module, and some modules keep what they computed: afterwards all is as before."""
    tables = [vars(module) for module in model.modules()]
    tables += [table[key] for table in tables for key in ("_parameters", "_buffers")]
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, entries in zip(tables, before):
            table.clear()
            table.update(entries)


def _timm_forward(self, x):
    final, features = _maps_of_tokens(self, x) if type(self).__module__ in READS_ITS_GRID \
        else self.forward_intermediates(x)
    try:
        return {"features": list(features), "logits": self.forward_head(final)}
    except NotImplementedError:  # networks that are made for features only
        return {"features": list(features)}


def _maps_of_tokens(self, x):
    """``forward_intermediates``, with the grid from the image's size."""
    final, features = self.forward_intermediates(x, output_fmt="NLC")
    rows, columns = (size // patch for size, patch in zip(x.shape[2:], self.patch_size))
    return final, [one.transpose(1, 2).reshape(x.shape[0], -1, rows, columns) for one in features]


def _describe_features(graph, tracer, info):
    """Fill ``graph.features`` from the traced run, and with timm's own strides and names where it has as many."""
    shapes = {node.name: node.meta["shape"] for node in tracer.graph.nodes if "shape" in node.meta}
    refs = graph.outputs["features"]
    info = info if len(info) == len(refs) else [{}] * len(refs)
    for index, (ref, known) in enumerate(zip(refs, info)):
        size = shapes[str(ref)]
        if len(size) != 4:
            raise UserError(f"{graph.name} gives features of shape {list(size)}, not [B, C, H, W]")
        graph.features.append({"num_chs": size[1], "reduction": known.get("reduction") or _shape_ratio(tracer, size),
                               "module": known.get("module") or f"features.{index}"})


def _shape_ratio(tracer, size):
    ratio = tracer.example.shape[2] / size[2]
    return int(ratio) if ratio == int(ratio) else ratio


def _listed(names):
    return list(names) if isinstance(names, (tuple, list)) else [names] if names else []


class Converter:
    """fx's graph and its module -> Graph."""

    def __init__(self, model, fx_graph):
        self.model, self.fx_graph = model, fx_graph
        self.state = model.state_dict()
        self.parameters = dict(model.named_parameters(remove_duplicate=False))
        self.leaves, self.consts, self.dtypes = {}, {}, {}

    def graph(self, name):
        nodes, outputs = [], {}
        for node in self.fx_graph.nodes:
            if node.op == "output":
                outputs = _argument(node.args[0])
            else:
                nodes.append(self._node(node))
        if not isinstance(outputs, dict):
            outputs = {"output": outputs}
        return Graph(name, nodes, outputs, leaves=self.leaves, consts=self.consts, dtypes=self.dtypes,
                     state={key: list(value.shape) for key, value in self.state.items()},
                     start=vars(self.model).get(STARTS) or initializers.of_module(self.model, initializers.Starts()),
                     buffers=[key for key in self.state if key not in self.parameters])

    def _node(self, node):
        make = {"placeholder": self._input, "get_attr": self._held, "call_module": self._leaf,
                "call_method": self._call, "call_function": self._call}[node.op]
        return make(node)

    def _input(self, node):
        return Node(_name(node), "input")

    def _held(self, node):
        """A parameter or buffer by its path, or a constant with its value."""
        from .tracer import NeedsValues, _attribute
        if node.target in self.state:
            dtype = _argument(self.state[node.target].dtype)
            if dtype != "float32":
                self.dtypes[node.target] = dtype
            return Node(_name(node), "param", node.target)
        value = node.meta["held"] if "held" in node.meta else _attribute(self.model, node.target)
        if value.is_meta:
            raise NeedsValues(f"the constant {node.target} has no value")
        self.consts[node.target] = _array(value)
        return Node(_name(node), "const", node.target)

    def _leaf(self, node):
        from ..graph.ops._leaf_args import read_leaf
        if node.target not in self.leaves:
            self.leaves[node.target] = read_leaf(self.model.get_submodule(node.target))
        return Node(_name(node), "leaf", node.target, _argument(list(node.args)), _argument(dict(node.kwargs)))

    def _call(self, node):
        from .tracer import guard, op_name, training_mode
        if node.target is guard:
            condition, expected, words, branch = node.args
            return Node(_name(node), "guard", words, [_argument(condition), expected, branch])
        if node.target is training_mode:
            return Node(_name(node), "training")
        args, attribute = list(node.args), None
        if node.target is builtins.getattr:
            attribute = args.pop()
        kwargs = {key: value for key, value in node.kwargs.items() if key not in DROPPED}
        target = op_name(node.op, node.target, attribute)
        return Node(_name(node), "call", target, _argument([arg for arg in args if not _is_place(arg)]),
                    _argument(kwargs))


def _name(node):
    """A node's name as a variable of generated source, where some names have a meaning already."""
    return f"{node.name}_" if node.name in ("self", "check", "remember", "ops", "inf", "nan") else node.name


def _is_place(value):
    """torch's devices and memory formats mean nothing to Paddle."""
    import torch
    return isinstance(value, (torch.device, torch.memory_format, torch.layout))


def _argument(value):
    """fx's arguments in the graph's terms: Ref for a node, names for dtypes."""
    import torch
    from torch import fx
    if isinstance(value, fx.Node):
        return Ref(_name(value))
    if isinstance(value, dict):
        return {key: _argument(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_argument(item) for item in value)
    if isinstance(value, list):
        return [_argument(item) for item in value]
    if isinstance(value, slice):
        return slice(_argument(value.start), _argument(value.stop), _argument(value.step))
    if isinstance(value, torch.dtype):
        return str(value).rpartition(".")[2]
    if isinstance(value, (type(None), type(Ellipsis), bool, int, float, str)):
        return value
    raise UserError(f"an argument of type {type(value).__name__} cannot be written down ({value!r})")


def _array(tensor):
    return np.array(tensor.detach().cpu().numpy())
