# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What is known of the normalisation of a backbone's weights: from files beside them, their tag's name, their arch."""
from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Sequence
from typing import Any

from ..errors import UserError, masked
from ..registry import user_class
from ..weights import metadata, pretrained_weights, source
from ..weights.hub_config import TOLD_BY

logger = logging.getLogger("ppdet.engine")


def backbone_settings(cfg: dict) -> tuple[str | None, dict]:
    """(name, settings) of the architecture's backbone, from either YAML style; (None, {}) where there is none.

    ``DETR: {backbone: TimmBackbone}`` + ``TimmBackbone: {arch: ...}``, or ``DETR: {backbone: {name: TimmBackbone,
    arch: ...}}``; settings written inline win.
    """
    architecture = cfg.get(cfg.get("architecture"))
    value = _lookup(architecture, "backbone")
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(name, str):
        return None, {}
    settings = {key: _lookup(cfg.get(name), key) for key in ("arch", "pretrained")}
    inline = value if isinstance(value, dict) else {}
    settings.update({key: inline[key] for key in settings if key in inline})
    return name, settings


def _lookup(section, key):
    """A setting of a config section or, failing that, its class's default."""
    if not isinstance(section, dict):
        return None
    if key in section:
        return section[key]
    return section[key] if getattr(section, "has_default", lambda _: False)(key) else None


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """What weights want.

    Attributes:
        mean, std: of RGB in 0..1.
        interpolation: timm's name of the way to resize.
        source: what the weights are called in messages.
        told_by: where the numbers are from.
        certain: whether they are known of these very weights, not supposed from an arch or a network.
    """
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    source: str = ""
    told_by: str = ""
    certain: bool = True

    def __str__(self) -> str:
        return f"mean {numbers(self.mean)}, std {numbers(self.std)}"


def of_weights(cfg: dict, name: str | None, settings: dict) -> Normalisation | None:
    """The Normalisation of the configured backbone's weights, or None where nothing is known.

    What lies beside the file that ``pretrained`` means wins over the PretrainedCfg of the tag that the file or address
    names, that over the arch's, and that over a ``pretrained_cfg`` of the registered class. Tags that differ are named.
    """
    owner: Any = getattr(getattr(cfg.get(name), "pymodule", None), name or "", None)
    known = getattr(owner, "pretrained_cfg", None)
    named = settings.get("arch") and hasattr(owner, "PREFIX")  # other classes have archs of their own
    arch = f"{owner.PREFIX}{settings['arch']}" if named else ""
    spec = settings.get("pretrained")
    asked = None
    if arch:
        asked, known = _published(arch, settings.get("img_size"), spec)
    if not hasattr(known, "mean") and inspect.isclass(owner):
        known = user_class.pretrained_cfg(owner, cfg.get(name) or {})
    if not hasattr(known, "mean"):
        return None
    file, brought = _file_metadata(spec, known)
    if asked:
        _name_tags(arch, file, asked, brought.get("tag") or getattr(known, "tag", ""))
    values = {key: brought.get(key) or getattr(known, key) for key in ("mean", "std", "interpolation")}
    if "mean" in brought:
        told_by = f"from '{brought.get(TOLD_BY) or metadata.sidecar(file)}'"
    else:
        told_by = _told_by_name(file, known, asked, arch) if asked else f"from the network in {name}"
    called = brought.get("source") or _called(known) or arch or name or ""
    certain = "mean" in brought or (asked is not None and (known is not asked or not file))
    return Normalisation(source=called, told_by=told_by, certain=certain, **values)


def _published(arch, size, spec):
    """(PretrainedCfg of the arch as the config writes it, the one of the tag that ``spec`` names)."""
    from ppdet_ext.backbones import find_entry, recognise, resolve, split_tag
    entry = find_entry(arch, tuple(size) if isinstance(size, list) else size)
    asked = resolve(entry, split_tag(arch)[1])
    return asked, recognise(spec, entry.pretrained_cfgs.values()) or asked


def _called(cfg):
    return getattr(cfg, "name", "")


def _name_tags(arch, file, asked, tag):
    """Say where weights are of another tag than the arch's; loudly where the config writes that tag."""
    if tag and asked.tag and tag != asked.tag:
        logger.log(logging.WARNING if "." in arch else logging.INFO, "the weights '%s' are of the tag %s, not of %s%s: "
                   "mean and std are those of %s", file, tag, asked.name, "" if "." in arch else ", the default one",
                   tag)


def _told_by_name(file, known, asked, arch):
    """In words: numbers that follow from a name, of the weights or of the arch alone."""
    if known is not asked:
        return f"those of {known.name}"
    default = ", the default tag" if known.tag and "." not in arch else ""
    return f"those of {known.name}{default}" + (f"; nothing is said of '{file}' itself" if file else "")


def _file_metadata(spec, known):
    """(what ``pretrained`` names or finds: file, address or ''; what is known beside it, {} where nothing is)."""
    if spec is True or spec == "auto":
        location = pretrained_weights.by_hand(known) if hasattr(known, "arch") else None
        return (str(location.path), location.meta) if location else ("", {})
    if not isinstance(spec, str) or spec in ("", "hub"):
        return "", {}
    if "://" in spec or not source.is_here(spec):  # nothing is downloaded for this
        return masked(spec), {}
    try:
        return spec, source.locate_spec(spec).meta
    except UserError as error:
        # training stops when it loads them; evaluation and inference do without
        logger.warning("Normalisation follows %s (mean %s, std %s), for the weights are not here: %s",
                       _called(known) or "the arch", numbers(known.mean), numbers(known.std), error)
        return spec, {}


def numbers(values: Sequence[float]) -> str:
    """Mean or std for a message, to four digits."""
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
