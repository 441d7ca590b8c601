# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The proof of a backbone's conversion: the source library's own network computes the same, stage by stage."""
from __future__ import annotations

from typing import Any, Callable

import numpy as np
import paddle
from paddle import nn

from ..errors import UserError
from . import parity
from .layout_rules import classifiers
from .readers import need

# source library -> how it builds an untrained network of one of its names
TORCH_BUILDERS = {
    "timm": lambda lib, arch, classes: lib.create_model(arch, pretrained=False, num_classes=classes),
    "torchvision": lambda lib, arch, classes: lib.models.get_model(
        arch.rpartition("/")[2], weights=None, num_classes=classes),
}


def verify(layer: nn.Layer, cfg: Any, state: dict[str, np.ndarray], build: Callable[[Any], Any] | None = None,
           seed: int = 0) -> list[parity.StageParity]:
    """Compare ``layer`` with the source library's own network on the same weights and one random image.

    The features of every stage (``layer.feature_info``) and the output, in eval mode.

    Args:
        layer: the network, filled.
        cfg: its PretrainedCfg.
        state: the same weights in torch's names and layout.
        build: ``build(library)`` makes the library's network; None builds the one of ``cfg.arch``.

    Returns:
        One row a stage.

    Raises:
        UserError: torch or the source library is missing, or its network does not take the weights.
    """
    torch = need("torch", "--verify")
    library = getattr(cfg, "source", None) or "timm"
    if build is None:
        classes = getattr(layer, "num_classes", cfg.num_classes)
        reference = TORCH_BUILDERS[library](need(library, "--verify"), cfg.arch, classes).eval()
        for path in () if classes else classifiers(layer):  # torchvision would keep a Linear of no outputs
            reference.set_submodule(path, torch.nn.Identity())
    else:
        reference = build(need(library, "--verify")).eval()
    _load_torch(torch, reference, state)
    image = np.random.RandomState(seed).randn(1, *cfg.input_size).astype(np.float32)
    layer.eval()
    with paddle.no_grad(), torch.no_grad():
        ours = layer_outputs(layer, paddle.to_tensor(image))
        theirs = torch_outputs(reference, layer.feature_info, torch.from_numpy(image))
    return parity.compare_stages(ours, theirs)


def layer_outputs(layer: nn.Layer, image: paddle.Tensor) -> dict[str, np.ndarray]:
    """``{name: array}``: the features by the source's module names, and of a network with a head the 'output'."""
    output = layer(image)
    if isinstance(output, (list, tuple)):
        return _named(layer.feature_info, output)
    return {**_named(layer.feature_info, layer.forward_intermediates(image)), "output": parity.as_array(output)}


def torch_features(model: Any, info: Any, image: Any) -> list[Any]:
    """The features of a torch network [B, C, H, W] that ``info`` names, as tensors."""
    if hasattr(model, "forward_intermediates"):
        return list(model.forward_intermediates(image, indices=list(info.out_indices), intermediates_only=True))
    found, _ = _hooked(model, info.module_name(), image)
    return [as_map(feature, channels) for feature, channels in zip(found.values(), info.channels())]


def as_map(feature: Any, channels: int) -> Any:
    """[B, C, H, W] from what torchvision's transformers give: [B, H, W, C], or [B, 1 + H*W, C] of a square image."""
    if feature.ndim == 3:
        side = int((feature.shape[1] - 1) ** 0.5)
        return feature[:, 1:].transpose(1, 2).reshape(feature.shape[0], channels, side, side)
    return feature if feature.shape[1] == channels else feature.permute(0, 3, 1, 2)


def torch_outputs(model: Any, info: Any, image: Any) -> dict[str, np.ndarray]:
    """The same of the torch network; ``info`` is the layer's feature_info."""
    if hasattr(model, "forward_intermediates"):
        indices = list(info.out_indices)
        found = _named(info, model.forward_intermediates(image, indices=indices, intermediates_only=True))
        return {**found, "output": parity.as_array(model(image))}
    modules = dict(model.named_modules())
    lacking = [name for name in info.module_name() if name not in modules]
    if not lacking:
        found, output = _hooked(model, info.module_name(), image)
        arrays = {name: parity.as_array(value) for name, value in found.items()}
        return arrays if isinstance(output, (list, tuple)) else {**arrays, "output": parity.as_array(output)}
    output = model(image)
    if isinstance(output, (list, tuple)):  # timm's features_only, whose modules have names of their own
        return _named(info, output)
    raise UserError(f"{type(model).__name__} has no {', '.join(lacking)}: features cannot be compared by name")


def _named(info, features):
    return dict(zip(info.module_name(), map(parity.as_array, features)))


def _hooked(model, names, image):
    """({name: what the torch module of that name gives}, what the network gives)."""
    found = {}

    def keeper(name):
        def keep(_module, _inputs, output):
            found[name] = output.clone()  # later modules may work in place
        return keep
    hooks = [model.get_submodule(name).register_forward_hook(keeper(name)) for name in names]
    try:
        output = model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: found[name] for name in names}, output


def _load_torch(torch, model, state):
    """Strict loading of the source's own tensors; only num_batches_tracked may be absent."""
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    result = model.load_state_dict(tensors, strict=False)
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise UserError(f"the torch model lacks {missing[:3]} and does not know {result.unexpected_keys[:3]} of these "
                        "weights; --verify wants a checkpoint that fits as it is")
