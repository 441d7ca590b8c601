# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An arch in, a network out: the native families' archs, traced graphs for all others, and ``create_model``.

An arch is timm's name ('resnet50'), or 'torchvision/' and torchvision's; with a tag it also names weights
('resnet50.a1_in1k').
"""
from __future__ import annotations

import fnmatch
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paddle import nn

from ..errors import UserError, nearest
from ..trace import on_demand
from . import manifest
from .manifest import PretrainedCfg
from .traced import TracedNet

NATIVE: dict[str, ModelEntry] = {}  # by arch, in the order of registration


@dataclass(frozen=True)
class ModelEntry:
    """A network that ``create_model`` can build; ``build(**settings)`` gives the layer, ``arch`` has no tag."""
    arch: str
    build: Callable[..., nn.Layer]
    family: str
    source: str = "timm"
    pretrained_cfgs: dict[str, PretrainedCfg] = field(default_factory=dict)

    @property
    def default_tag(self) -> str:
        """The tag that the bare arch stands for; '' where no weights are known."""
        return next(iter(self.pretrained_cfgs), "")


def register_model(arch: str, family: str = "custom", source: str = "timm",
                   pretrained_cfgs: Mapping[str, PretrainedCfg] | None = None) -> Callable[[Callable], Callable]:
    """Decorator: make ``builder(**settings)`` available to create_model as ``arch``.

    Args:
        pretrained_cfgs: {tag: PretrainedCfg}, the default first; None takes what weights/manifest.yml says.

    Raises:
        UserError: the arch is taken.
    """
    def add(builder: Callable) -> Callable:
        if arch in NATIVE:
            raise UserError(f"model name '{arch}' is taken (family {NATIVE[arch].family}); choose another")
        cfgs = manifest.manifest_cfgs(arch) if pretrained_cfgs is None else dict(pretrained_cfgs)
        NATIVE[arch] = ModelEntry(arch, builder, family, source, cfgs)
        return builder

    return add


def create_model(arch: str, pretrained: bool | str = False, features_only: bool = False,
                 out_indices: int | Sequence[int] | None = None, in_chans: int = 3, num_classes: int | None = None,
                 drop_path_rate: float = 0.0, checkpoint_path: str = "",
                 img_size: int | tuple[int, int] | None = None, **kwargs: Any) -> nn.Layer:
    """Build a network by timm's name ('cspresnet50', 'resnet50.a1_in1k') or 'torchvision/resnet50'.

    A native port where there is one, else a traced graph: of the package, of an earlier trace, or traced now, for which
    torch is needed.

    Args:
        pretrained: True for the published weights of the tag (must be had), or what weights.load_pretrained takes
            (a path or URL).
        features_only: forward gives the list of features at out_indices instead of logits, and no head is built.
        out_indices: None for all, n for the last n, or a sequence; negative ones count from the end.
        in_chans: channels of the input; pretrained first convolutions are summed or tiled to fit.
        num_classes: None for the weights' own number; another number leaves the classifier random, 0 builds none.
        drop_path_rate: stochastic depth at the last block, rising linearly from 0 at the first.
        checkpoint_path: local weights, in place of ``pretrained``.
        img_size: side or (height, width) of the images, for networks that are made for one size; position parameters
            are resized to it as timm does. Native networks take any size and ignore it.
        kwargs: further settings of the family (drop_rate, pool, zero_init_last).

    Returns:
        nn.Layer with feature_info, pretrained_cfg and, where weights were loaded, load_report.

    Raises:
        UserError: unknown arch, tag or setting; weights that cannot be had or do not fit.
    """
    entry = find_entry(arch, img_size)
    cfg = manifest.recognise(checkpoint_path or pretrained, entry.pretrained_cfgs.values()) or resolve(
        entry, split_tag(arch)[1])
    num_classes = cfg.num_classes if num_classes is None else num_classes
    settings = dict(features_only=features_only, out_indices=out_indices, in_chans=in_chans, num_classes=num_classes,
                    drop_path_rate=drop_path_rate, **kwargs)
    _check_settings(entry, settings)
    net = entry.build(**settings)
    net.pretrained_cfg, net.pretrained_cfgs = cfg, entry.pretrained_cfgs
    if checkpoint_path or pretrained:
        from ..weights.pretrained_weights import load_pretrained  # only where weights are wanted
        classifiers = (cfg.classifier,) if isinstance(cfg.classifier, str) else cfg.classifier
        allow = tuple(f"{path}.*" for path in classifiers) if num_classes != cfg.num_classes else ()
        net.load_report = load_pretrained(net, cfg, checkpoint_path or pretrained, in_chans=in_chans, allow=allow)
    return net


def _check_settings(entry: ModelEntry, settings: Mapping[str, Any]) -> None:
    parameters = inspect.signature(entry.build).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in settings:
        if key not in parameters:
            raise UserError(f"'{entry.arch}' has no setting '{key}'{nearest(key, parameters)}")


def split_tag(arch: str) -> tuple[str, str]:
    """'resnet50.a1_in1k' -> ('resnet50', 'a1_in1k'); 'resnet50' -> ('resnet50', '')."""
    bare, _, tag = arch.partition(".")
    return bare, tag


def find_entry(arch: str, img_size: int | tuple[int, int] | None = None) -> ModelEntry:
    """The entry of a native network, or else of a traced one; its graph is traced now where it is not at hand.

    Raises:
        UserError: no such network or tag, with the nearest names; or it cannot be traced here.
    """
    bare, tag = split_tag(arch)
    entry = NATIVE.get(bare) or _traced_entry(bare, img_size)
    if tag and tag not in entry.pretrained_cfgs:
        known = ", ".join(entry.pretrained_cfgs) or "none"
        raise UserError(f"'{bare}' has no tag '{tag}'{nearest(tag, entry.pretrained_cfgs)}; known: {known}")
    return entry


def _traced_entry(arch: str, img_size: int | tuple[int, int] | None) -> ModelEntry:
    if not on_demand.can_trace(arch) and not on_demand.at_hand(arch, img_size):
        close = nearest(arch, [*list_models(), *on_demand.shipped()])
        raise UserError(f"unknown arch '{arch}'{close}; or, if timm or torchvision has it: {on_demand.how_to(arch)}")
    graph = on_demand.find(arch, img_size)
    cfgs = manifest.cfgs_of(arch, graph.info.get("published") or {})
    return ModelEntry(arch, functools.partial(TracedNet, graph), "traced", graph.info["library"], cfgs)


def model_entry(arch: str) -> ModelEntry:
    """The entry of a network that must be native, its arch with or without a tag.

    Raises:
        UserError: unknown arch or tag, with the nearest names.
    """
    bare = split_tag(arch)[0]
    if bare not in NATIVE:
        raise UserError(f"unknown arch '{bare}'{nearest(bare, NATIVE)} "
                        "(ppdet_ext.backbones.list_models() names all)")
    return find_entry(arch)


def resolve(entry: ModelEntry, tag: str = "") -> PretrainedCfg:
    """The PretrainedCfg of a ModelEntry for a tag, '' for its default one; a bare one where no weights are known."""
    return entry.pretrained_cfgs.get(tag or entry.default_tag) or PretrainedCfg(arch=entry.arch, source=entry.source)


def list_models(filter: str = "", pretrained: bool | None = None, family: str | Sequence[str] | None = None,
                source: str | None = None) -> list[str]:
    """Sorted archs of native networks.

    Args:
        filter: shell pattern such as '*resnet*'.
        pretrained: True lists 'arch.tag' for all weights that are known.
        family: 'resnet', 'cspnet', 'efficientnet', or a list of them.
        source: 'timm' or 'torchvision' (their archs start with 'torchvision/').
    """
    families = [family] if isinstance(family, str) else family
    entries = [entry for entry in NATIVE.values()
               if (not families or entry.family in families) and (not source or entry.source == source)]
    archs = [arch for entry in entries for arch in (_with_tags(entry) if pretrained else [entry.arch])]
    return sorted(arch for arch in archs if not filter or fnmatch.fnmatch(arch, filter))


def list_families() -> dict[str, list[str]]:
    """{family: its archs in the order in which its file registers them, the smallest first}."""
    families: dict[str, list[str]] = {}
    for entry in NATIVE.values():
        families.setdefault(entry.family, []).append(entry.arch)
    return families


def _with_tags(entry: ModelEntry) -> list[str]:
    return [f"{entry.arch}.{tag}" for tag, cfg in entry.pretrained_cfgs.items() if cfg.has_weights]
