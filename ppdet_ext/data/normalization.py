# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Normalisation belongs to the weights: readers take mean, std and interpolation from the backbone's PretrainedCfg.

``NormalizeImage: {mean: from_weights, std: from_weights}`` (also ``interp: from_weights`` of a resize and ``fill_value:
from_weights`` of an expansion) get the weights' numbers; other numbers under pretrained weights are reported.
"""
from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from ..config.values import FROM_WEIGHTS as PLACEHOLDER
from ..errors import UserError
from ..registry import user_class

logger = logging.getLogger("ppdet.engine")

READERS = ("TrainReader", "EvalReader", "TestReader")
LISTS = ("sample_transforms", "batch_transforms")
# timm's names -> OpenCV's numbers, which ppdet's Resize takes
INTERPOLATION = {"nearest": 0, "bilinear": 1, "bicubic": 2, "box": 3, "lanczos": 4, "random": 1}
# the most by which two ways to normalise may differ at any pixel, in the network's units (about 1/4 grey level)
TOLERANCE = 0.01


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
    """What weights want: mean and std of RGB in 0..1, timm's name of the interpolation; ``source`` for messages."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    source: str = ""


def of_weights(cfg: dict, name: str | None, settings: dict) -> Normalisation | None:
    """The Normalisation of the configured backbone's weights, or None where nothing is known.

    The metadata of the file that ``pretrained`` means wins over the arch's PretrainedCfg, and that over a
    ``pretrained_cfg`` of the registered class.
    """
    from ppdet_ext.backbones import find_entry, resolve, split_tag
    owner: Any = getattr(getattr(cfg.get(name), "pymodule", None), name or "", None)
    known = getattr(owner, "pretrained_cfg", None)
    named = settings.get("arch") and hasattr(owner, "PREFIX")  # other classes have archs of their own
    arch = f"{owner.PREFIX}{settings['arch']}" if named else ""
    if arch:
        size = settings.get("img_size")
        entry = find_entry(arch, tuple(size) if isinstance(size, list) else size)
        known = resolve(entry, split_tag(arch)[1])
    if not hasattr(known, "mean") and inspect.isclass(owner):
        known = user_class.pretrained_cfg(owner, cfg.get(name) or {})
    if not hasattr(known, "mean"):
        return None
    brought = _file_metadata(settings.get("pretrained"), known)
    values = {key: brought.get(key) or getattr(known, key) for key in ("mean", "std", "interpolation")}
    return Normalisation(source=brought.get("source") or arch or name or "", **values)


def _file_metadata(spec, known):
    """Metadata of a local weight file or package, also of one that true and auto find; {} for all else."""
    from ppdet_ext.weights import pretrained_weights, source
    if spec is True or spec == "auto":
        location = pretrained_weights.by_hand(known) if hasattr(known, "arch") else None
        return location.meta if location else {}
    if not isinstance(spec, str) or spec in ("", "hub") or "://" in spec:
        return {}
    try:
        return source.locate_spec(spec).meta
    except UserError as error:
        # training stops when it loads them; evaluation and inference do without
        logger.warning("Normalisation follows the arch (mean %s, std %s), for the weights are not here: %s",
                       _numbers(known.mean), _numbers(known.std), error)
        return {}


def resolve(cfg: dict, weights_cfg: Normalisation | None = None,
            find: Callable[[dict, str | None, dict], Normalisation | None] = of_weights) -> Normalisation | None:
    """Fill ``from_weights`` in every reader of ``cfg``, in place, and compare what is written out.

    Args:
        cfg: ppdet's global config.
        weights_cfg: a Normalisation (or any object with its fields) known better than ``find`` can.
        find: (cfg, backbone's name, {'arch', 'pretrained'}) -> Normalisation or None.

    Returns:
        The Normalisation used, or None where nothing is known of the backbone's weights (and nothing was asked for).

    Raises:
        UserError: ``from_weights`` under a backbone without known weights; numbers that differ from the weights' own
            (a warning with ``normalization_mismatch: warn``; not looked at where ``pretrained`` is off).
    """
    name, settings = backbone_settings(cfg)
    known = weights_cfg or find(cfg, name, settings) or _written(cfg)
    if known is None:
        where = _first_placeholder(cfg)
        if where:
            raise UserError(f"{where} is '{PLACEHOLDER}', but nothing is known of the weights of backbone '{name}'; "
                            "write 'normalization: {mean: [...], std: [...]}' at the top of the config, for ImageNet "
                            "weights mostly mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225]")
        return None
    for reader, entries in _transforms(cfg):
        _fill(reader, entries, known)
    if weights_cfg is not None or settings.get("pretrained"):
        _compare(cfg, known)
    return known


def _written(cfg):
    """The Normalisation of the config's own ``normalization: {mean, std}``, for backbones whose weights say nothing."""
    given = cfg.get("normalization")
    if not given:
        return None
    if not isinstance(given, dict) or set(given) != {"mean", "std"} or any(len(v) != 3 for v in given.values()):
        raise UserError(f"normalization must be {{mean: [r, g, b], std: [r, g, b]}} in 0..1, got {given}")
    return Normalisation(tuple(given["mean"]), tuple(given["std"]), source="the config's normalization")


def _transforms(cfg):
    """(reader name, [(operator, arguments)]) for each reader that has transforms, in the order they run."""
    for reader in READERS:
        section = cfg.get(reader)
        if isinstance(section, dict):
            entries = [(name, arguments or {}) for key in LISTS for entry in dict.get(section, key) or ()
                       for name, arguments in entry.items()]
            if entries:
                yield reader, entries


def _first_placeholder(cfg):
    return next((f"{reader}: {name}.{key}" for reader, entries in _transforms(cfg) for name, arguments in entries
                 for key, value in arguments.items() if value == PLACEHOLDER), None)


def _fill(reader, entries, known):
    """Replace the placeholders of one reader."""
    for name, arguments in entries:
        scale = 1.0 if arguments.get("is_scale", True) else 255.0
        if arguments.get("norm_type") == "none" and PLACEHOLDER in (arguments.get("mean"), arguments.get("std")):
            raise UserError(f"{reader}: NormalizeImage has norm_type: none, which leaves mean and std unused; remove "
                            "it to normalise as the weights want")
        values = {"mean": [value * scale for value in known.mean], "std": [value * scale for value in known.std],
                  "fill_value": [value * 255.0 for value in known.mean],
                  "interp": INTERPOLATION.get(known.interpolation, 1)}
        for key, value in list(arguments.items()):
            if isinstance(value, str) and value == PLACEHOLDER:
                if key not in values:
                    raise UserError(f"{reader}: {name}.{key} cannot be '{PLACEHOLDER}' (only {', '.join(values)} can)")
                arguments[key] = values[key]


def affine(arguments: dict | None) -> tuple[np.ndarray, np.ndarray]:
    """What a NormalizeImage does to a pixel 0..255, as (factor [3], offset [3]).

    Args:
        arguments: its settings; None stands for no such operator.
    """
    if arguments is None:
        return np.ones(3), np.zeros(3)
    factor = np.full(3, 1 / 255 if arguments.get("is_scale", True) else 1.0)
    if arguments.get("norm_type", "mean_std") == "none":
        return factor, np.zeros(3)
    mean = np.asarray(arguments.get("mean", [0.485, 0.456, 0.406]), "float64")
    std = np.asarray(arguments.get("std", [0.229, 0.224, 0.225]), "float64")
    return factor / std, -mean / std


def _compare(cfg, known):
    """Report readers whose normalisation differs from the weights' by more than TOLERANCE at black or white."""
    wanted = affine({"mean": list(known.mean), "std": list(known.std)})
    for reader, entries in _transforms(cfg):
        given = next((arguments for name, arguments in entries if name == "NormalizeImage"), None)
        factor, offset = affine(given)
        gap = max(np.abs(offset - wanted[1]).max(), np.abs((factor - wanted[0]) * 255 + offset - wanted[1]).max())
        if gap <= TOLERANCE:
            continue
        text = (f"{reader} normalises with {_describe(given)}, but the weights '{known.source}' were trained with mean "
                f"{_numbers(known.mean)}, std {_numbers(known.std)}; write 'NormalizeImage: {{mean: {PLACEHOLDER}, "
                f"std: {PLACEHOLDER}}}'")
        if cfg.get("normalization_mismatch") != "warn":
            raise UserError(f"{text}, or 'normalization_mismatch: warn' to go on like this")
        logger.warning("NORMALISATION MISMATCH: %s", text)


def _describe(arguments):
    if arguments is None:
        return "nothing (no NormalizeImage)"
    scale = "" if arguments.get("is_scale", True) else ", is_scale: false"
    if arguments.get("norm_type", "mean_std") == "none":
        return f"norm_type none{scale}"
    defaults = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    return ", ".join(f"{key} {_numbers(arguments.get(key, value))}" for key, value in defaults.items()) + scale


def _numbers(values):
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
