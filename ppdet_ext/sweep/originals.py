# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The torch networks of the sweep: their names, and one of them with random weights that hide nothing."""
from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from torch.nn.modules.batchnorm import _BatchNorm as AnyBatchNorm

from ..graph.graph import Graph
from ..trace import from_torch
from ..weights.verify_backbone import as_map

FILL_BUFFERS = ("_init_buffers", "reset_parameters")  # timm's names for what does
BOUND = 1.5  # of layers that clamp at buffers called *_min and *_max, without bounds until they are trained
TINY = 1e-2  # parameters that start below this are branches switched off, and would hide what comes after them


def names(filters: Sequence[str] = ("*",), libraries: Sequence[str] = ("timm", "torchvision")) -> list[str]:
    """Sorted names of the installed timm's models and torchvision's classification models that match a pattern."""
    known = {"timm": timm.list_models,
             "torchvision": lambda: [f"torchvision/{n}" for n in torchvision.models.list_models(
                 module=torchvision.models)]}
    found = [name for library in libraries for name in known[library]()]
    return sorted(name for name in found if any(fnmatch.fnmatchcase(name, one) for one in filters))


def family(name: str) -> str:
    """The file that defines the network."""
    package, _, arch = name.rpartition("/")
    if package:
        return f"torchvision/{torchvision.models.get_model_builder(arch).__module__.rpartition('.')[2]}"
    return timm.models._registry.model_entrypoint(name).__module__.rpartition(".")[2]


def picture(size: Sequence[int]) -> np.ndarray:
    """A random image [batch, 3, height, width] of a size (batch, height, width)."""
    batch, height, width = size
    return np.random.RandomState(0).randn(batch, 3, height, width).astype("float32")


def reference(name: str, graph: Graph, image: np.ndarray,
              prepare: Callable[[torch.nn.Module], torch.nn.Module] | None = None) -> torch.nn.Module:
    """The torch network with random weights that hide nothing, in eval mode; it has seen ``image``."""
    torch.manual_seed(0)
    package, _, arch = name.rpartition("/")
    settings = {key: value for key, value in graph.info["settings"].items() if key != "drop_path_rate"}
    build = partial(torchvision.models.get_model, arch, weights=None) if package else partial(timm.create_model, arch)
    if prepare:
        net = with_values(prepare(from_torch.weightless(build, settings, name)))  # it is cut before it gets values
    else:
        net = build(**settings)
    module: Any
    for module in net.modules():
        if type(module).__name__ in ("StochasticDepth", "DropPath") or "Dropout" in type(module).__name__:
            setattr(module, "drop_prob" if hasattr(module, "drop_prob") else "p", 0.0)
        if getattr(module, "aug_active", False):
            module.aug_active = False
    stir(net)
    settle(net, image)
    with torch.no_grad():
        features_of(net.eval(), torch.tensor(image[:1]), graph)  # a size that it refuses is found here
    return net


def with_values(net: torch.nn.Module) -> torch.nn.Module:
    """Normal values, scaled to the number of inputs, for parameters and buffers without storage.

    Buffers whose module has a function that fills them get what that gives.
    """
    seen = {}
    for module in net.modules():
        for key, value in module._parameters.items():
            if value is not None and value.is_meta:
                if id(value) not in seen:
                    seen[id(value)] = torch.nn.Parameter(_random_like(value))
                module._parameters[key] = seen[id(value)]
        _fill_buffers(module)
    return net


def _random_like(value):
    return torch.randn(value.shape) * (value[0].numel() if value.ndim else 1) ** -0.5


def _fill_buffers(module):
    empty = {key: value for key, value in module._buffers.items() if value is not None and value.is_meta}
    for key, value in empty.items():
        constant = {"running_mean": 0.0, "running_var": 1.0}.get(key, None if value.is_floating_point() else 0)
        module._buffers[key] = _random_like(value) if constant is None else torch.full(value.shape, constant,
                                                                                       dtype=value.dtype)
    if empty and not isinstance(module, AnyBatchNorm):
        for name in FILL_BUFFERS:
            if hasattr(module, name):
                getattr(module, name)()
                return


def batch_norms(net: torch.nn.Module) -> dict[str, Any]:
    """{path: layer} of the BatchNorm layers that keep running statistics."""
    return {path: module for path, module in net.named_modules()
            if isinstance(module, AnyBatchNorm) and module.running_mean is not None}


def stir(net: torch.nn.Module) -> None:
    """Random values in place of ones, zeros and branches that start switched off."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim <= 1 or parameter.numel() == max(parameter.shape):
                small = parameter.abs().max() < TINY
                parameter.add_(noise * 0.1) if not small else parameter.copy_(0.1 + noise * 0.1)
            elif parameter.abs().max() < 1e-4:
                parameter.copy_(noise * 0.02)
        for name, buffer in net.named_buffers():
            if name.endswith(("_min", "_max")):
                buffer.fill_(BOUND if name.endswith("_max") else -BOUND)


def settle(net: torch.nn.Module, image: np.ndarray) -> None:
    """Half random, half measured BatchNorm statistics: values stay in the range of a trained network."""
    norms = batch_norms(net).values()
    if not norms:
        return
    for norm in norms:
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 1.5)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.5
    with torch.no_grad():
        net.train()(torch.tensor(image))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum


def features_of(net: Any, image: torch.Tensor, graph: Graph) -> list[torch.Tensor]:
    """The torch network's own features; torchvision's are read off by hooks at the modules that the graph names."""
    if hasattr(net, "forward_intermediates"):
        return list(net.forward_intermediates(image, intermediates_only=True))
    found: dict[str, torch.Tensor] = {}
    modules = dict(net.named_modules())
    paths = [feature["module"] for feature in graph.features]
    hooks = [modules[path].register_forward_hook(lambda _m, _i, out, path=path: found.__setitem__(path, out.clone()))
             for path in paths]
    net(image)
    for hook in hooks:
        hook.remove()
    return [as_map(found[feature["module"]], feature["num_chs"]) for feature in graph.features]


def dtype_of(net: torch.nn.Module) -> str:
    """The name of its parameters' type, such as 'float32'."""
    return str(next(net.parameters()).dtype).rpartition(".")[2]


def shorten(net: torch.nn.Module) -> torch.nn.Module:
    """Cut runs of equal blocks to two: every kind of block stays, the depth goes."""
    for module in list(net.modules()):
        if isinstance(module, (torch.nn.Sequential, torch.nn.ModuleList)):
            kept = _kept(list(module.children()))
            if len(kept) < len(module):
                for index in reversed(range(len(module))):
                    if index not in kept:
                        del module[index]
    return net


def _kept(blocks):
    """Indices of blocks that are not the third or a later one of a run that is alike in class and shapes."""
    def kind(block):
        return type(block), tuple((key, tuple(value.shape)) for key, value in block.state_dict().items())
    kinds = [kind(block) for block in blocks]
    return [index for index in range(len(blocks))
            if index < 2 or not kinds[index][1] or not kinds[index] == kinds[index - 1] == kinds[index - 2]]
