# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From a torch network to a Graph: timm's by name, torchvision's by name, or any torch module. Needs torch.

The network is made without weights and run once without values, so its size does not matter: see ``tracer``.
"""
from __future__ import annotations

import contextlib
import inspect
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Callable
from unittest import mock

from ..errors import UserError, nearest
from ..graph.graph import Graph
from ..weights.readers import need
from . import initializers
from .initializers import INITIALIZERS

if TYPE_CHECKING:
    import torch

SIZES = (256, 224, 384, 448, 512)  # tried one after the other where a network does not say what it wants
DROP_PATH = 0.5  # stochastic depth that networks are traced with; layer scales it to what is wanted
# what makes timm's networks take images of any size, where their class has such a setting
OPEN_SETTINGS = {"dynamic_img_size": True, "strict_img_size": False}
# files whose networks find the grid of their maps in a tensor's values: they are asked for tokens instead
READS_ITS_GRID = ("timm.models.gemma4_vit",)


def trace_timm(arch: str, img_size: int | tuple[int, int] | None = None, prepare: Callable | None = None) -> Graph:
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

    settings = timm_settings(build, arch, img_size)
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


def trace_torchvision(arch: str, img_size: int | tuple[int, int] | None = None,
                      prepare: Callable | None = None) -> Graph:
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
    crop = torchvision.models.get_model_weights(arch).DEFAULT.transforms().crop_size[0]
    if not img_size and setting and crop != torchvision_taps.BUILT_FOR:
        img_size = crop  # as its published weights are
    settings = torchvision_settings(arch, img_size)

    def build(**given):
        made = torchvision.models.get_model(arch, weights=None, **given)
        return prepare(made) if prepare else made

    graph = _first_traceable(f"torchvision/{arch}", partial(weightless, build, settings, arch), None,
                             [_square(img_size)] if img_size else _candidates((3, crop, crop), bool(setting)),
                             partial(torchvision_taps.add_features, arch=arch))
    graph.info.update(settings=settings, library="torchvision", version=torchvision.__version__, fixed=bool(setting),
                      **torchvision_taps.ends(arch))
    return graph


def torchvision_settings(arch: str, img_size: int | tuple[int, int] | None = None) -> dict[str, Any]:
    """How torchvision's builder is called, for images of a size where there is one.

    Raises:
        UserError: this network is not built for a size, or for square images only.
    """
    from . import torchvision_taps
    settings: dict[str, Any] = {"init_weights": False} if arch in ("googlenet", "inception_v3") else {}
    if img_size:
        setting = torchvision_taps.size_setting(arch)
        settings[_wanted_setting(setting, f"torchvision/{arch}")] = _side(setting, img_size)
    return settings


def _runs_at_another_size(build, graph):
    """Whether the network takes an image of another size after all; its guards then say which."""
    from .trace_module import trace
    from .weightless import NeedsValues
    height, width = graph.info["input_size"][1:]
    try:
        trace(graph.name, build(), _timm_forward, (2, 3, height * 2, width + height), None, build)
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


def trace_module(module: torch.nn.Module, shape: tuple[int, ...], name: str = "") -> Graph:
    """The Graph of a torch module's own ``forward``; outputs is {'output': what it returns}.

    Args:
        module: torch.nn.Module with or without weights; it is left as it was.
        shape: of the tensor that it is run on, without values.
        name: what messages call it.

    Raises:
        UserError: forward cannot be followed; the line says where and why.
    """
    need("torch", "tracing a torch module")
    from .trace_module import trace
    return trace(name or type(module).__name__, module, _of_one_argument(type(module).forward), tuple(shape))


def _of_one_argument(forward):
    """``forward`` without its optional arguments, which torch.fx would take for inputs; None: it has no others."""
    if len(inspect.signature(forward).parameters) <= 2:
        return None

    def of_one_argument(self, x):
        return forward(self, x)
    return of_one_argument


def timm_settings(build: Callable, arch: str, img_size: int | tuple[int, int] | None) -> dict[str, Any]:
    """What the network's class takes of the settings we want; {} of those it does not know.

    Raises:
        UserError: it is not built for a size, and ``img_size`` is one.
    """
    kind: Any = _class_of(arch) or type(weightless(build, {}, arch))
    signature = {key for base in kind.__mro__  # a subclass may hand its settings on
                 for key in inspect.signature(base.__init__).parameters}
    wanted = {"drop_path_rate": DROP_PATH, **OPEN_SETTINGS}
    settings: dict[str, Any] = {key: value for key, value in wanted.items() if key in signature}
    if img_size:
        settings[_wanted_setting("img_size" if "img_size" in signature else "", arch)] = img_size
    return settings


def _class_of(arch):
    """The class that timm would make the network of, seen before it does; None where it goes about it another way."""
    import timm

    from .weightless import Weightless
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


def weightless(build: Callable, settings: dict[str, Any], arch: str, real: bool = False) -> torch.nn.Module:
    """The network without storage for its weights; with it (``real``) where constants need computing that lacks it."""
    from .weightless import Weightless, forget_weights
    try:
        if real:
            return build(**settings).eval()
        with Weightless() as mode:
            model = build(**settings).eval()
        vars(model)[INITIALIZERS] = initializers.of_module(model, mode.recorder)
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
    from .trace_module import trace
    first, model = None, build()
    for size in sizes:
        try:
            return trace(name, model, forward, (2, 3, *size), add_features, build)
        except UserError as error:
            first = first or error
    raise first


def _timm_forward(self, x):
    final, features = maps_of_tokens(self, x) if type(self).__module__ in READS_ITS_GRID \
        else self.forward_intermediates(x)
    try:
        return {"features": list(features), "logits": self.forward_head(final)}
    except NotImplementedError:  # networks that are made for features only
        return {"features": list(features)}


def maps_of_tokens(self: Any, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """``forward_intermediates`` of a network ``self``, with the grid from the image's size."""
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
