# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The torch networks that a backbone, or parts of it, came from: made anew, with the same weights."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ..backbones.modules import NamedBackbone
from ..errors import UserError
from ..registry import user_class
from ..weights import pretrained_weights
from ..weights.layout_rules import to_torch
from ..weights.readers import need
from ..weights.verify_backbone import torch_features
from . import with_hooks
from .backbone_subject import Subject

FLAG = "parity with torch"
COUNTER = "num_batches_tracked"
ANY_SIZE = {"strict_img_size": False}  # timm's Swin then takes any size, as ours does


@dataclass
class Pair:
    """A layer and the torch module that it came from.

    Attributes:
        path: of the layer in the backbone, '' for all of it.
        run: gives what the module makes of an image or a feature, as a list.
        image: the Paddle tensor that the layer is given.
        outputs: what the layer makes of it.
        weights: {torch's name: array} as the layer has them, torch's layout.
    """

    path: str
    layer: nn.Layer
    module: Any
    run: Callable[[Any], list[Any]]
    image: paddle.Tensor
    outputs: list[paddle.Tensor]
    weights: dict[str, np.ndarray]


def pairs(subject: Subject, image: paddle.Tensor) -> list[Pair]:
    """Every part that came from torch, after one run on ``image``; [] where none did.

    Raises:
        UserError: torch or the library is not here, or the module cannot be made anew.
    """
    if subject.is_named:
        backbone: Any = subject.backbone
        module = named_module(backbone)
        info = subject.network.feature_info
        found = [("model", subject.network, module, lambda given: torch_features(module, info, given))]
    else:
        found = list(_of_class(subject, image))
    return list(_with_values(subject, found, image))


def named_module(backbone: NamedBackbone) -> Any:
    """The library's own network of a backbone by name, in evaluation mode, from random values."""
    need("torch", FLAG)
    cfg, graph = backbone.pretrained_cfg, getattr(backbone.model, "graph", None)
    library = need(cfg.source, FLAG)
    traced = (graph.info.get("settings") if graph is not None else None) or {}
    settings = {key: value for key, value in traced.items() if key not in ("drop_path_rate", *ANY_SIZE)}
    if cfg.source == "torchvision":
        return library.models.get_model(cfg.arch.rpartition("/")[2], weights=None, **settings).eval()
    if backbone.in_chans != 3:
        settings["in_chans"] = backbone.in_chans
    try:
        return library.create_model(cfg.arch, pretrained=False, **ANY_SIZE, **settings).eval()
    except TypeError:  # the network has no such setting, and needs none
        return library.create_model(cfg.arch, pretrained=False, **settings).eval()


def published_state(subject: Subject) -> dict[str, np.ndarray]:
    """The weights as their file has them, in torch's layout; {} where there is no file, or random values."""
    backbone: Any = subject.backbone
    if not subject.is_named or backbone.load_report is None:
        return {}
    location = pretrained_weights.find(backbone.pretrained_cfg, backbone.pretrained)
    if location is None:
        return {}
    converted = pretrained_weights.Converted(subject.network, backbone.pretrained_cfg, location, use_cache=False)
    return converted.torch_state(subject.network)


def _of_class(subject: Subject, image: paddle.Tensor) -> Iterator[tuple[str, nn.Layer, Any, Any]]:
    """What a class of the user's holds: the module itself, or the highest children that forward calls."""
    modules = user_class.torch_originals(subject.backbone, subject.settings)
    layers = dict(subject.backbone.named_sublayers(include_self=True))
    called = with_hooks.called(subject.backbone, lambda: subject.run_unchecked(image))
    for path, module in modules.items():
        if path == "":
            yield "", subject.backbone, module, _runner(module)
            continue
        below = [name for name in called if name == path or name.startswith(f"{path}.")]
        for name in below:
            if not any(name.startswith(f"{other}.") for other in below):
                part = module.get_submodule(name[len(path) + 1:]) if name != path else module
                yield name, layers[name], part, _runner(part)


def _runner(module):
    wants = user_class.takes_batch(module.eval())

    def run(given):
        return as_list(module({"image": given} if wants else given))
    return run


def as_list(output: Any) -> list[Any]:
    """The tensors of an output, in order."""
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return [tensor for item in output for tensor in as_list(item)]
    return [output] if hasattr(output, "shape") else []


def _with_values(subject, found, image):
    """Pairs, with the weights of the layers in the modules and what the layers make of the image."""
    seen: dict[str, tuple[Any, list[Any]]] = {}

    def keeper(path):
        def keep(_layer, inputs, output):
            seen.setdefault(path, (inputs[0], as_list(output)))
        return keep
    hooks = (layer.register_forward_post_hook(keeper(path)) for path, layer, *_ in found)
    with with_hooks.removing(hooks), paddle.no_grad():
        subject.run_unchecked(image)
    published = published_state(subject)
    for path, layer, module, run in found:
        given, outputs = seen[path]
        own = to_torch({name: value.numpy() for name, value in layer.state_dict().items()}, layer)
        fill(module, {name: published[name] if name in published and published[name].shape == value.shape else value
                      for name, value in own.items()})
        yield Pair(path, layer, module, run, given["image"] if isinstance(given, dict) else given, outputs, own)


def fill(module: Any, state: dict[str, np.ndarray]) -> None:
    """Give the module these weights; what it has beside them (a head) stays.

    Raises:
        UserError: it lacks some of them, or has them in another shape.
    """
    torch = need("torch", FLAG)
    own = module.state_dict()
    wrong = [name for name, value in state.items() if name not in own or tuple(own[name].shape) != value.shape]
    if wrong and not all(name.endswith(COUNTER) for name in wrong):
        raise UserError(f"torch's {type(module).__name__} has no {wrong[0]} of this shape")
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()
                            if name not in wrong}, strict=False)
