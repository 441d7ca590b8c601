# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The way back: a trained Paddle backbone as a .safetensors that the source library loads with strict=True."""
from __future__ import annotations

import importlib.util
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np
from paddle import nn

from ..errors import UserError
from ..files import atomic_path
from . import convert_backbone, parity, verify_backbone
from .layout_rules import classes_of, classifiers, known_names, to_paddle, to_torch, torch_names
from .load_report import Mismatch, fold, load_into
from .pretrained_weights import Converted, describe
from .readers import need, reader_for
from .source import locate_spec, read
from .writers import write_safetensors

logger = logging.getLogger(__name__)
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Call:
    """How a person builds the torch network that a file belongs to, the same as a function of the library, and what
    create_model is told for the same network."""
    text: str
    build: Callable[[Any], Any]
    settings: dict[str, Any]


@dataclass(frozen=True)
class TorchWeights:
    """What ``collect`` found.

    ``state`` is in torch's names and layout, ``call`` builds the network that takes them with strict=True and
    ``build`` ours, ``checked`` says whether that was tried (the library is installed), ``filled`` names what came from
    elsewhere.
    """
    state: dict[str, np.ndarray]
    build: Callable[..., nn.Layer]
    meta: dict[str, Any]
    call: Call
    checked: bool
    filled: tuple[str, ...] = ()


def check_output(path: str | Path) -> None:
    """Raise UserError for an output of another kind than we write."""
    if not str(path).endswith(SUFFIX):
        raise UserError(f"the output '{path}' should end in {SUFFIX} (--to torch)")


def collect(build: Callable[..., nn.Layer], spec: str | Path, fill: str | Path = "", part: str = "") -> TorchWeights:
    """Take a backbone's weights out of a Paddle checkpoint, for torch.

    Args:
        build: ``build(**settings)`` makes the network; create_model with its name given.
        spec: .pdparams or .pdema file of the network, with or without classifier, or of a detector around it.
        fill: where parts that the checkpoint does without come from, as ``source.read`` takes it; '' for nowhere.
        part: see ``unwrap.unwrap``.

    Returns:
        TorchWeights.

    Raises:
        UserError: a torch file; weights of another network; parts are missing and no network of the library does
            without just them.
    """
    layer = _whole(build)
    cfg = layer.pretrained_cfg
    location = locate_spec(spec, cfg=cfg)
    if reader_for(location.path)[1] != "paddle":
        raise UserError(f"'{location.source}' is a torch file already; --to torch takes a .pdparams or .pdema")
    checkpoint = read(location, names=known_names(layer), part=part)
    state = checkpoint.state
    layer = _sized(build, layer, state)
    own = layer.state_dict()
    lacking = [name for name in own if name not in state]
    if len(lacking) == len(own):
        raise UserError(f"'{location.source}' holds nothing of {cfg.arch}: its names are {', '.join(fold(state)[:4])}"
                        ", ...; give --arch the network that was trained")
    load_into(layer, state, lacking, label=cfg.arch, source=location.source)
    ours = to_torch(state, layer)
    filled = _fill(layer, fill, ours) if fill else {}
    ours = {name: ours[name] if name in ours else filled[name]
            for name in source_names(layer) if name in ours or name in filled}
    call, checked = _call_for(layer, ours, location.source)
    meta = {**describe(cfg, checkpoint, checkpoint.sha256), **({"filled_from": str(fill)} if filled else {})}
    return TorchWeights(ours, build, meta, call, checked, tuple(filled))


def write(weights: TorchWeights, output: str | Path) -> None:
    """Write the tensors, and what is known of them in the file's header."""
    check_output(output)
    with atomic_path(output) as temporary:
        write_safetensors(weights.state, weights.meta, temporary)


def summary(weights: TorchWeights, output: str | Path) -> str:
    """What a person wants to know of the file, as text."""
    known = "tried" if weights.checked else "not tried: the library is not installed here"
    rows = [("source", weights.meta["source"]), ("tensors", str(len(weights.state))),
            ("filled", f"{len(weights.filled)} from {weights.meta['filled_from']}: "
                       f"{', '.join(fold(weights.filled)[:4])}" if weights.filled else "nothing"),
            ("normalisation", convert_backbone.normalisation(weights.meta)), ("licence", weights.meta["license"]),
            ("written", str(output)),
            ("loads into", f"{weights.call.text}, strict=True ({known})")]
    return "\n".join(f"{name + ':':15}{value}" for name, value in rows)


def verify(weights: TorchWeights) -> list[parity.StageParity]:
    """parity.StageParity rows of the Paddle network against the torch one, both filled with the tensors."""
    layer = weights.build(**weights.call.settings)
    load_into(layer, to_paddle(weights.state, layer), unused=getattr(layer, "unused_prefixes", ()))
    return verify_backbone.verify(layer, layer.pretrained_cfg, weights.state, weights.call.build)


def source_names(layer: nn.Layer) -> list[str]:
    """All names of the source's state dict, in order; of a traced network also those its graph has no use for."""
    graph = getattr(layer, "graph", None)
    own = torch_names(layer)
    return list(dict.fromkeys([*own, *graph.state])) if graph is not None else own


def _whole(build):
    """The network with its classifier; a graph that was traced without has its features."""
    try:
        return build()
    except UserError:
        return build(features_only=True)


def _sized(build, layer, state):
    """``layer``, built anew where the checkpoint's classifier has another number of classes."""
    classes = classes_of(state, layer)
    return layer if classes in (None, layer.num_classes) else build(num_classes=classes)


def _fill(layer, spec, ours):
    """``{torch name: array}`` of what ``spec`` has and ``ours`` lacks."""
    cfg = layer.pretrained_cfg
    theirs = Converted(layer, cfg, locate_spec(spec, cfg=cfg), use_cache=False).torch_state(layer)
    found = {name: theirs[name] for name in source_names(layer) if name not in ours and name in theirs}
    heads = tuple(f"{path}." for path in classifiers(layer))
    own = {name: tuple(value.shape) for name, value in layer.state_dict().items()}
    for name, value in to_paddle(found, layer).items():
        if name in own and own[name] != value.shape and not name.startswith(heads):
            raise UserError(f"--fill {spec}: {Mismatch(name, own[name], value.shape)}; give weights of {cfg.arch}")
    logger.info("%d tensors that the checkpoint does without come from %s", len(found), spec)
    return found


def _call_for(layer, state, origin):
    """``(Call, whether it was tried)`` for the network of the library that has just these names.

    Raises:
        UserError: there is none, or the library's network differs.
    """
    cfg, heads = layer.pretrained_cfg, classifiers(layer)
    missing = [name for name in source_names(layer) if name not in state]
    if not missing:
        calls = [WHOLE_CALLS[cfg.source](cfg, _classes(layer, state))]
    else:
        calls = [*(HEADLESS_CALLS[cfg.source](cfg, path) for path in heads[:1]), *FEATURE_CALLS[cfg.source](cfg, layer)]
    if not (importlib.util.find_spec(cfg.source) and importlib.util.find_spec("torch")):
        if all(name.startswith(tuple(f"{path}." for path in heads)) for name in missing):
            return calls[0], False
        calls = []
    for call in calls:
        difference = _difference(call, cfg.source, state)
        if not difference:
            return call, True
        if not missing:
            raise UserError(f"{call.text} does not take the weights of '{origin}': {difference}")
    modules = dict.fromkeys(name.rpartition(".")[0] for name in missing)
    raise UserError(f"'{origin}' lacks {len(missing)} parameters of {cfg.source}'s {cfg.arch.rpartition('/')[2]} (in "
                    f"{', '.join(fold(modules)[:4])}), with which it was not built; take them from elsewhere: --fill "
                    "hub, --fill FILE or --fill package:NAME")


def _classes(layer, state):
    """The number of classes to build the library's network for; None for its own."""
    for path in classifiers(layer):
        if f"{path}.weight" in state:
            return state[f"{path}.weight"].shape[0]
    return layer.num_classes or None


def _difference(call, library, state):
    """In words, what ``strict=True`` would complain of; '' for nothing. Nothing is allocated."""
    torch = need("torch", "--to torch")
    with torch.device("meta"):
        model = call.build(need(library, "--to torch"))
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: value.shape for name, value in state.items()}
    kinds = (("missing", [name for name in wanted if name not in given]),
             ("unexpected", [name for name in given if name not in wanted]),
             ("of another shape", [name for name in wanted if name in given and wanted[name] != given[name]]))
    return "; ".join(f"{kind}: {', '.join(fold(names)[:4])}" for kind, names in kinds if names)


def _timm(arch, **settings):
    settings = {key: value for key, value in settings.items() if value is not None}
    text = "".join(f", {key}={value!r}" for key, value in settings.items())
    return Call(f"timm.create_model('{arch}'{text})",
                lambda timm: timm.create_model(arch, pretrained=False, **settings), settings)


def _timm_features(cfg, layer):
    """timm's features_only networks, whole and cut; their names are the plain network's in a few families only."""
    count = len(layer.feature_info)
    chosen = [None, *(tuple(range(last)) for last in range(count - 1, 0, -1))]
    return [_timm(cfg.arch, features_only=True, out_indices=indices) for indices in chosen]


def _torchvision(cfg, classes):
    name = cfg.arch.rpartition("/")[2]
    settings = {} if classes is None else {"num_classes": classes}
    text = "".join(f", {key}={value!r}" for key, value in settings.items())
    return Call(f"torchvision.models.get_model('{name}'{text})",
                lambda library: library.models.get_model(name, weights=None, **settings), settings)


def _torchvision_headless(cfg, path):
    """There is no such network: the classifier is exchanged."""
    whole = _torchvision(cfg, None)
    attribute = re.sub(r"\.(\d+)", r"[\1]", f"model.{path}")

    def build(library):
        model, (parent, _, name) = whole.build(library), path.rpartition(".")
        setattr(model.get_submodule(parent), name, need("torch", "--to torch").nn.Identity())
        return model
    return Call(f"model = {whole.text} with {attribute} = torch.nn.Identity()", build, {"num_classes": 0})


# source library -> Call for the whole network, the one without classifier, and those that give features
WHOLE_CALLS = {"timm": lambda cfg, classes: _timm(cfg.arch, num_classes=classes), "torchvision": _torchvision}
HEADLESS_CALLS = {"timm": lambda cfg, _path: _timm(cfg.arch, num_classes=0), "torchvision": _torchvision_headless}
FEATURE_CALLS = {"timm": _timm_features, "torchvision": lambda _cfg, _layer: []}
