# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a torch network costs, seen by running it without values: a row of the catalogue. Needs torch.

Multiplications of one forward pass by kind of operation, memory that tensors take, shapes of the features.
"""
from __future__ import annotations

import contextlib
import math
import weakref
from collections import Counter
from functools import partial
from typing import Any

import timm
import torch
import torchvision
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ..errors import UserError
from ..sweep import originals
from ..trace import from_torch

SIDE = 640  # of a detector's image
# tried one after the other: detection's own, multiples of 14, of 7 * 32 and of 12 * 32, then the network's own
SIDES = (640, 644, 672, 768)
BATCH = 2  # a BatchNorm over single values does not train
MB = 1e6
CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)
KINDS = ("conv", "pointwise", "grouped", "depthwise", "linear", "attention")


def row(name: str) -> dict:
    """A row of the catalogue for a timm name or 'torchvision/NAME', without what is published of its weights.

    Raises:
        UserError: the network runs neither at a detector's size nor at its own.
    """
    network = Network(name)
    whole = network.whole()
    return {"name": name, "family": originals.family(name), "status": "ok", **whole, **network.features()}


class Network:
    """One name: ``whole`` is the classifier as it is published, ``features`` the backbone under a detector."""

    def __init__(self, name: str):
        package, _, self.arch = name.rpartition("/")
        self.name, self.torchvision = name, bool(package)
        self.own_side = self._own_side()
        self.graph = from_torch.trace_torchvision(self.arch) if package else None
        self.nets: dict[int | None, torch.nn.Module] = {}

    def _own_side(self):
        if self.torchvision:
            return torchvision.models.get_model_weights(self.arch).DEFAULT.transforms().crop_size[0]
        cfg = timm.models.get_pretrained_cfg(self.arch)
        return max((cfg.test_input_size or cfg.input_size)[1:])

    def whole(self) -> dict:
        """Parameters, and multiplications at the size at which timm and torchvision test it."""
        net = self._built()
        values = {"own_side": self.own_side, "parameters": _count(net.parameters()) / 1e6, "gmacs_own": None}
        for img_size in (None, self.own_side):
            with contextlib.suppress(Exception):  # whatever a network of 1,400 does at a size
                net = self._built(img_size)
                values["gmacs_own"] = _counted(net, net.__call__, self.own_side)[0].total / 1e9
                break
        return {**values, **_structure(net)}

    def features(self) -> dict:
        """Shapes of the features and the cost of a forward and a training step, of the largest images it takes."""
        reasons = []
        for side in dict.fromkeys((*SIDES, self.own_side, 224, 256, 384)):
            for img_size in (None, side):
                try:
                    return self._features_at(side, img_size)
                except Exception as error:
                    reasons.append(f"{side}: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
        raise UserError(f"{self.name} gives no features ({reasons[0]}; {reasons[-1]})")

    def _features_at(self, side, img_size):
        net = self._built(img_size)
        ask = partial(self._features_of, net)
        counts, features = _counted(net, ask, side)
        values = {
            "side": side, "built_for_side": img_size is not None, "gmacs": counts.total / 1e9,
            "shares": {kind: round(counts.macs[kind] / max(counts.total, 1), 3) for kind in KINDS if counts.macs[kind]},
            "channels": [one.shape[1] for one in features], "strides": [_stride(side, one) for one in features],
            "backbone_parameters": counts.parameters(net) / 1e6, "peak_mb": counts.peak / MB,
            "operations": sum(counts.calls.values())}
        values["saved_mb"] = None
        with contextlib.suppress(Exception):
            values["saved_mb"] = _saved(net, ask, side) / BATCH / MB
        return values

    def _features_of(self, net, image):
        if self.torchvision:
            return self._tapped(net, image)
        if type(net).__module__ in from_torch.READS_ITS_GRID:
            return from_torch.maps_of_tokens(net, image)[1]
        return list(net.forward_intermediates(image, intermediates_only=True))

    def _tapped(self, net, image):
        """torchvision's features by hooks, the last of which ends the run: the classifier does not count."""
        found: dict[str, torch.Tensor] = {}
        modules = dict(net.named_modules())
        wanted = [feature["module"] for feature in self.graph.features]

        def keep(path, _module, _inputs, output):
            found[path] = output.clone()
            if len(found) == len(wanted):
                raise _Done

        hooks = [modules[path].register_forward_hook(partial(keep, path)) for path in wanted]
        with contextlib.suppress(_Done):
            net(image)
        for hook in hooks:
            hook.remove()
        return [originals.as_map(found[one["module"]], one["num_chs"]) for one in self.graph.features]

    def _built(self, img_size=None):
        if img_size not in self.nets:
            self.nets[img_size] = self._build(img_size)
        return self.nets[img_size]

    def _build(self, img_size):
        if self.torchvision:
            build = partial(torchvision.models.get_model, self.arch, weights=None)
            settings = from_torch.torchvision_settings(self.arch, img_size)
        else:
            build = partial(timm.create_model, self.arch, pretrained=False)
            settings = from_torch.timm_settings(build, self.arch, img_size)
            settings.pop("drop_path_rate", None)
        return from_torch.weightless(build, settings, self.name).to("meta")  # constants too: nothing is computed


class _Done(Exception):
    """See Network._tapped."""


def _count(parameters):
    return sum(one.numel() for one in parameters)


def _stride(side, feature):
    """Of a map, seen from its width; a whole number where it is nearly one (unpadded convolutions take rows away)."""
    ratio = side / feature.shape[3]
    if ratio == int(ratio):
        return int(ratio)
    return next((power for power in (2, 4, 8, 16, 32, 64) if abs(ratio / power - 1) < 0.16), round(ratio, 2))


def _counted(net, call, side):
    net.eval()
    with torch.no_grad(), Counts() as counts:
        result = call(torch.empty(1, 3, side, side, device="meta"))
    return counts, result


class Counts(TorchDispatchMode):
    """Counts while it is open.

    Attributes:
        macs: {kind: multiplications}, of convolutions and matrix products, one for a multiplication with its addition.
        calls: {operation: calls}.
        peak: bytes of the tensors that lived at one time, weights left out.
    """

    def __init__(self):
        super().__init__()
        self.macs: Counter = Counter()
        self.calls: Counter = Counter()
        self.seen: set[int] = set()
        self.live: dict[int, list[int]] = {}
        self.bytes = self.peak = 0

    @property
    def total(self) -> float:
        return sum(self.macs.values())

    def parameters(self, net: torch.nn.Module) -> int:
        """Values in those parameters of a network that were read."""
        return _count(one for one in net.parameters() if id(one) in self.seen)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        packet = function._overloadpacket
        self.seen.update(id(one) for one in tree_leaves(args) if isinstance(one, torch.nn.Parameter))
        self.calls[str(packet)] += 1
        if packet in flop_registry:
            self.macs[_kind(packet, args)] += flop_registry[packet](*args, **(kwargs or {}), out_val=result) / 2
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor):
                self._keep(one)
        self.peak = max(self.peak, self.bytes)
        return result

    def _keep(self, tensor):
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.live:
            self.live[key] = [0, storage.nbytes()]
            self.bytes += storage.nbytes()
        self.live[key][0] += 1
        weakref.finalize(tensor, self._drop, key)

    def _drop(self, key):
        entry = self.live[key]
        entry[0] -= 1
        if not entry[0]:
            self.bytes -= entry[1]
            del self.live[key]


def _kind(packet, args):
    name = str(packet)
    if "attention" in name or name in ("aten.bmm", "aten.baddbmm"):
        return "attention"
    if "convolution" not in name:
        return "linear"
    weight, groups = args[1], args[8] if len(args) > 8 else 1
    if groups > 1:
        return "depthwise" if weight.shape[1] == 1 else "grouped"
    return "pointwise" if math.prod(weight.shape[2:]) == 1 else "conv"


def _saved(net, ask, side):
    """Bytes that a forward pass in training keeps for the backward pass, weights left out."""
    net.train()
    own = {one.untyped_storage()._cdata for one in [*net.parameters(), *net.buffers()]}
    kept: dict[int, tuple[Any, int]] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage, storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        features = ask(torch.empty(BATCH, 3, side, side, device="meta"))
        for one in features:
            kept[one.untyped_storage()._cdata] = one.untyped_storage(), one.untyped_storage().nbytes()
    return sum(size for _, size in kept.values())


def _structure(net):
    """Class of its blocks, their number, and classes of norms, activations and gates by how often they stand there."""
    classes = Counter(type(module).__name__ for module in net.modules() if not list(module.children()))
    inner = Counter(type(module).__name__ for module in net.modules() if list(module.children()))
    block, number = _block(net)
    return {"block": block, "blocks": number, "leaves": dict(classes.most_common(12)),
            "modules": dict(inner.most_common(12))}


def _block(net):
    """(class, number) of the modules that the network is a row of: the repeated ones with the most parameters."""
    elements: dict[str, list] = {}
    for module in net.modules():
        if isinstance(module, CONTAINERS):
            for child in module.children():
                if not isinstance(child, CONTAINERS) and list(child.children()):
                    elements.setdefault(type(child).__name__, []).append(child)
    weight = {kind: sum(_count(one.parameters()) for one in found) for kind, found in elements.items()}
    if not weight:
        return "", 0
    kind = max(weight, key=lambda one: weight[one])
    while True:  # from stages to the blocks in them
        inside = Counter(type(one).__name__ for part in elements[kind] for one in part.modules() if one is not part)
        nested = [other for other in elements if other != kind and inside[other] and
                  weight[other] > 0.55 * weight[kind] and len(elements[other]) > len(elements[kind])]
        if not nested or len(elements[kind]) > 6:
            return kind, len(elements[kind])
        kind = max(nested, key=lambda one: weight[one])
