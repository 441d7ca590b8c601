# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Names of the native networks: who builds them, what family and source they belong to."""
from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import Callable

from ..errors import UserError, nearest
from . import manifest

_ENTRIES: dict[str, ModelEntry] = {}


@dataclass(frozen=True)
class ModelEntry:
    """A network that ``create_model`` can build; ``build(**settings)`` gives the layer."""
    name: str
    build: Callable
    family: str
    source: str = "timm"
    pretrained_cfgs: dict = field(default_factory=dict)

    @property
    def default_tag(self):
        """The tag that the bare name stands for; '' where no weights are known."""
        return next(iter(self.pretrained_cfgs), "")


def register_model(name, family="custom", source="timm", pretrained_cfgs=None):
    """Decorator: make ``builder(**settings)`` available to create_model as ``name``.

    Args:
        pretrained_cfgs: {tag: PretrainedCfg}, the default first; None takes what weights/manifest.yml says.

    Raises:
        UserError: the name is taken.
    """
    def add(builder):
        if name in _ENTRIES:
            raise UserError(f"model name '{name}' is taken (family {_ENTRIES[name].family}); choose another")
        cfgs = manifest.manifest_cfgs(name) if pretrained_cfgs is None else dict(pretrained_cfgs)
        _ENTRIES[name] = ModelEntry(name, builder, family, source, cfgs)
        return builder

    return add


def split_tag(name):
    """'resnet50.a1_in1k' -> ('resnet50', 'a1_in1k'); 'resnet50' -> ('resnet50', '')."""
    arch, _, tag = name.partition(".")
    return arch, tag


def find_entry(name):
    """The entry of a native network, with or without a tag; None for other names.

    Raises:
        UserError: unknown tag, with the nearest ones.
    """
    arch, tag = split_tag(name)
    entry = _ENTRIES.get(arch)
    return entry and with_known_tag(entry, tag)


def with_known_tag(entry, tag):
    """``entry``.

    Raises:
        UserError: it has no such tag.
    """
    if tag and tag not in entry.pretrained_cfgs:
        known = ", ".join(entry.pretrained_cfgs) or "none"
        raise UserError(f"'{entry.name}' has no tag '{tag}'{nearest(tag, entry.pretrained_cfgs)}; known: {known}")
    return entry


def model_entry(name):
    """``find_entry``, for a name that must be native's.

    Raises:
        UserError: unknown arch or tag, with the nearest names.
    """
    entry = find_entry(name)
    if entry is None:
        raise UserError(f"unknown arch '{split_tag(name)[0]}'{nearest(name, _ENTRIES)} "
                        "(ppdet_ext.backbones.list_models() names all)")
    return entry


def list_models(filter="", pretrained=None, family=None, source=None):
    """Sorted names of native networks.

    Args:
        filter: shell pattern such as '*resnet*'.
        pretrained: True lists 'arch.tag' for all weights that are known.
        family: 'resnet', 'cspnet', 'efficientnet', or a list of them.
        source: 'timm' or 'torchvision' (their names start with 'torchvision/').
    """
    families = [family] if isinstance(family, str) else family
    entries = [entry for entry in _ENTRIES.values()
               if (not families or entry.family in families) and (not source or entry.source == source)]
    names = [name for entry in entries for name in (_pretrained_names(entry) if pretrained else [entry.name])]
    return sorted(name for name in names if not filter or fnmatch.fnmatch(name, filter))


def _pretrained_names(entry):
    return [f"{entry.name}.{tag}" for tag, cfg in entry.pretrained_cfgs.items() if cfg.has_weights]
